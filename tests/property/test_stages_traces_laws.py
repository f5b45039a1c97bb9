"""Laws of planes, drift and traces: brightness, order of frames and planes, mirrors, numbering."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from clgkit import data
from clgkit.stages._time_means import mean_over_time
from clgkit.stages.align_planes import AlignPlanes, PlanesAligned, align_planes
from clgkit.stages.extract_traces import ExtractTraces, TracesExtracted, extract_traces
from clgkit.workspace import Workspace

FEW = settings(max_examples=5)
SERIAL = Workspace(executor="serial")
SIDE, FRAMES = 32, 8
SLICES = np.array([1, 3], np.int32)


def movie_of(pixels: npt.NDArray[Any]) -> xr.DataArray:
    return data.movie(pixels, rate_hz=2.0, voxel_um=(2.0, 1.0, 1.0))


def pixels() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(3)
    return rng.integers(50, 900, (FRAMES, 2, SIDE, SIDE)).astype(np.float32)


def nuclei() -> npt.NDArray[np.uint32]:
    """Squares that differ from slice to slice."""
    image = np.zeros((5, SIDE, SIDE), np.uint32)
    for z in range(5):
        for n, (row, column) in enumerate(np.ndindex(3, 3)):
            y, x = 10 * row + 2 + z % 2, 10 * column + 3
            image[z, y : y + 4 + z % 3, x : x + 5] = 10 * z + n + 1
    return image


def planes_at(slices: npt.NDArray[np.int32]) -> xr.DataArray:
    return xr.DataArray(slices, dims=("z",))


def extracted(
    frames: npt.NDArray[Any],
    labels: npt.NDArray[np.uint32] | None = None,
    slices: npt.NDArray[np.int32] = SLICES,
    **how: Any,
) -> TracesExtracted:
    image = nuclei() if labels is None else labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return extract_traces(
            movie_of(frames), data.labels(image, voxel_um=(1.0, 1.0, 1.0)), planes_at(slices),
            params=ExtractTraces(**how), workspace=SERIAL,
        )  # fmt: skip


def test_a_trace_is_the_mean_of_the_pixels_of_its_nucleus() -> None:
    made = extracted(pixels()).rois

    for row, trace in enumerate(made.values):
        plane, nucleus = (int(made.coords[name][row]) for name in ("plane", "nucleus"))
        mask = nuclei()[SLICES[plane]] == nucleus
        # Sums of some thirty whole numbers, divided once.
        np.testing.assert_allclose(trace, pixels()[:, plane][:, mask].mean(axis=1), rtol=1e-6)
        assert made.coords["area_px"][row] == mask.sum()
        assert made.coords["slice"][row] == SLICES[plane]
        where = np.argwhere(mask).mean(axis=0)
        np.testing.assert_allclose([made.coords[f"{a}_px"][row] for a in "yx"], where, rtol=1e-6)


@FEW
@given(order=st.permutations(range(FRAMES)))
@pytest.mark.parametrize("direction", ["labels", "movie"])
def test_frames_do_not_know_of_each_other(direction: str, order: list[int]) -> None:
    wanted = extracted(pixels(), direction=direction).rois.values

    ours = extracted(pixels()[order], direction=direction).rois.values

    np.testing.assert_array_equal(ours, wanted[:, order])


@FEW
@given(gain=st.sampled_from([0.25, 2.0, 8.0]), offset=st.sampled_from([-64.0, 0.0, 256.0]))
@pytest.mark.parametrize("direction", ["labels", "movie"])
def test_traces_are_linear_in_brightness(direction: str, gain: float, offset: float) -> None:
    wanted = extracted(pixels(), direction=direction).rois.values

    ours = extracted(pixels() * gain + offset, direction=direction).rois.values

    # Rounded to float32 once more.
    np.testing.assert_allclose(ours, gain * wanted + offset, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize("direction", ["labels", "movie"])
def test_in_a_mirror_every_nucleus_has_the_same_trace(direction: str, axis: int) -> None:
    wanted = extracted(pixels(), direction=direction).rois

    ours = extracted(
        np.flip(pixels(), axis + 2), np.flip(nuclei(), axis + 1), direction=direction
    ).rois

    np.testing.assert_array_equal(ours.coords["nucleus"], wanted.coords["nucleus"])
    np.testing.assert_allclose(ours.values, wanted.values, rtol=1e-6)  # the order of sums
    mirrored = SIDE - 1 - ours.coords["yx"[axis] + "_px"].values
    np.testing.assert_allclose(mirrored, wanted.coords["yx"[axis] + "_px"], atol=1e-4)


def test_planes_in_another_order_give_the_same_rois() -> None:
    wanted = extracted(pixels()).rois

    ours = extracted(pixels()[:, ::-1], slices=SLICES[::-1].copy()).rois

    first, second = (wanted.coords["plane"].values == plane for plane in (0, 1))
    np.testing.assert_array_equal(
        ours.values, np.concatenate([wanted.values[second], wanted.values[first]])
    )


@FEW
@given(seed=st.integers(0, 99))
def test_other_numbers_for_the_nuclei_change_no_trace(seed: int) -> None:
    names = np.unique(nuclei())[1:]
    table = np.zeros(names.max() + 1, np.uint32)
    rng = np.random.default_rng(seed)
    table[names] = rng.choice(2**32 - 1, len(names), replace=False) + 1
    wanted = extracted(pixels()).rois

    ours = extracted(pixels(), table[nuclei()]).rois

    back = {int(table[name]): name for name in names}
    named = {
        (back[int(n)], int(p)): trace
        for n, p, trace in zip(
            ours.coords["nucleus"].values, ours.coords["plane"].values, ours.values, strict=True
        )
    }
    for n, p, trace in zip(
        wanted.coords["nucleus"].values, wanted.coords["plane"].values, wanted.values, strict=True
    ):
        np.testing.assert_array_equal(named.pop((n, int(p))), trace)
    assert not named


def test_a_missing_pixel_counts_for_no_nucleus_but_its_own() -> None:
    frames = pixels()
    frames[4, 0, 4, 5] = np.nan
    wanted, made = extracted(pixels()).rois, extracted(frames).rois

    owner = int(nuclei()[1, 4, 5])
    other = made.coords["nucleus"].values != owner
    assert owner > 0
    np.testing.assert_array_equal(made.values[other], wanted.values[other])
    mask = nuclei()[1] == owner
    (own,) = made.values[~other]
    assert own[4] == pytest.approx(float(np.nanmean(frames[4, 0][mask])), rel=1e-6)
    np.testing.assert_array_equal(np.delete(own, 4), np.delete(wanted.values[~other][0], 4))


@FEW
@given(n=st.integers(1, 70), gaps=st.integers(0, 40))
def test_a_mean_of_chosen_frames_is_that_of_numpy(n: int, gaps: int) -> None:
    rng = np.random.default_rng(n)
    frames = rng.normal(0, 1, (80, 3, 4)).astype(np.float32)
    frames[rng.integers(0, 80, gaps), rng.integers(0, 3, gaps), rng.integers(0, 4, gaps)] = np.nan
    chosen = np.sort(rng.choice(80, n, replace=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without any value
        wanted = np.nanmean(frames[chosen].astype(np.float64), axis=0)

    made = mean_over_time(xr.DataArray(frames, dims=("time", "y", "x")), chosen)

    # Sums of float64, rounded to float32; a mean may be as small as 1e-3.
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-7)


def stack() -> npt.NDArray[np.float32]:
    """Seven slices with nothing in common."""
    rng = np.random.default_rng(5)
    points = np.zeros((7, 64, 64), np.float32)
    points[tuple(rng.integers(0, [[7], [64], [64]], (3, 500)))] = 100
    kernel = np.exp(-((np.arange(-4, 5) / 1.6) ** 2) / 2)
    for axis in (1, 2):
        points = np.apply_along_axis(np.convolve, axis, points, kernel, "same")
    return points + 20


def aligned(images: npt.NDArray[Any], slices: npt.NDArray[Any], **how: Any) -> PlanesAligned:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return align_planes(
            data.volume(images, voxel_um=(2.0, 1.0, 1.0), name="template"),
            data.volume(slices, voxel_um=(1.0, 1.0, 1.0)),
            params=AlignPlanes(max_shift_px=4, in_plane="offset", **how),
            workspace=SERIAL,
        )  # fmt: skip


def test_planes_are_found_upwards_and_downwards() -> None:
    images = stack()[[1, 3, 5]]

    up = aligned(images, stack())
    down = aligned(images[::-1], stack(), order="falling")
    free = aligned(images[[1, 2, 0]], stack(), order="free", use_spacing=False)

    assert up.planes.values.tolist() == [1, 3, 5]
    assert down.planes.values.tolist() == [5, 3, 1]
    assert free.planes.values.tolist() == [3, 5, 1]
    np.testing.assert_allclose(down.scores.values[::-1], up.scores.values, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
def test_mirrored_planes_lie_in_the_same_slices_of_a_mirrored_stack(axis: int) -> None:
    images = np.roll(stack()[[1, 3, 5]], (2, -1), axis=(1, 2))
    wanted = aligned(images, stack())

    ours = aligned(np.flip(images, axis), np.flip(stack(), axis))

    np.testing.assert_array_equal(ours.planes, wanted.planes)
    for name, along in (("shift_y_px", 1), ("shift_x_px", 2)):
        sign = -1 if along == axis else 1
        np.testing.assert_allclose(  # pixels: filters are centred to a part of one
            ours.planes.coords[name], sign * wanted.planes.coords[name], atol=0.1
        )


@FEW
@given(gain=st.sampled_from([0.01, 3.0, 500.0]), offset=st.sampled_from([-10.0, 0.0, 1000.0]))
def test_the_brightness_of_planes_does_not_matter(gain: float, offset: float) -> None:
    images = stack()[[1, 3, 5]]
    wanted = aligned(images, stack())

    ours = aligned(gain * images + offset, stack())

    np.testing.assert_array_equal(ours.planes, wanted.planes)
    np.testing.assert_allclose(ours.scores, wanted.scores, atol=5e-3)  # float32 above an offset


@FEW
@given(y=st.integers(-3, 3), x=st.integers(-3, 3))
def test_a_displaced_plane_is_laid_where_it_belongs(y: int, x: int) -> None:
    images = np.roll(stack()[[1, 3, 5]], (y, x), axis=(1, 2))

    made = aligned(images, stack())

    # Pixels; shifts lay the slice on the plane.
    np.testing.assert_allclose(made.planes.coords["shift_y_px"], y, atol=0.15)
    np.testing.assert_allclose(made.planes.coords["shift_x_px"], x, atol=0.15)
    np.testing.assert_allclose(made.maps.values[..., 1], -y, atol=0.15)
    np.testing.assert_allclose(made.maps.values[..., 2], -x, atol=0.15)
    assert not made.maps.values[..., 0].any()
