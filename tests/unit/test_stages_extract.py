"""Labels come to a plane, level or tilted, or the movie comes to its slice."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError, SettingsError
from clgkit.stages.extract_traces import ExtractTraces, TracesExtracted, extract_traces
from clgkit.workspace import Workspace

SIDE, N_FRAMES = 48, 30
SHIFT_PX = np.array([1.5, -0.75])


class Scene(NamedTuple):
    movie: xr.DataArray
    """(time, 1, 48, 48): blobs, each with an activity of its own."""
    labels: xr.DataArray
    """(3, 96, 96): slice 1 holds a disk for every blob, moved by the shift."""
    activity: npt.NDArray[np.float64]
    """(nucleus, time)"""
    planes: xr.DataArray


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(0)
    centers = np.stack(np.meshgrid(np.arange(8, 44, 8), np.arange(8, 44, 8)), axis=-1)
    centers = centers.reshape(-1, 2) + rng.uniform(-1, 1, (25, 2))
    activity = rng.uniform(1, 3, (25, N_FRAMES))
    y, x = np.indices((SIDE, SIDE))
    movie = np.full((N_FRAMES, SIDE, SIDE), 100.0)
    fine = (np.indices((2 * SIDE, 2 * SIDE)) + 0.5) / 2 - 0.5
    labels = np.zeros((3, 2 * SIDE, 2 * SIDE), np.uint32)
    for nucleus, (center, trace) in enumerate(zip(centers, activity, strict=True), 1):
        blob = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 8)
        movie += 100 * trace[:, np.newaxis, np.newaxis] * blob
        # The shift lays the slice on the plane, so in the slice the cell lies before it.
        away = fine - (center - SHIFT_PX)[:, np.newaxis, np.newaxis]
        labels[1][np.hypot(*away) < 2.2] = nucleus
    coords: dict[str, Any] = {
        f"shift_{axis}_px": ("z", [by]) for axis, by in zip("yx", SHIFT_PX, strict=True)
    }
    return Scene(
        data.movie(movie[:, np.newaxis], rate_hz=2.0, voxel_um=(5, 1, 1)),
        data.labels(labels, voxel_um=(1, 0.5, 0.5)),
        activity,
        xr.DataArray(np.array([1], np.int32), dims=("z",), coords=coords, name="planes"),
    )


def extracted(scene: Scene, *more: Any, **changes: Any) -> tuple[TracesExtracted, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made = extract_traces(
            scene.movie, scene.labels, scene.planes, *more, params=ExtractTraces(**changes),
            workspace=Workspace(executor="serial", memory_mb=0.2),
        )  # fmt: skip
    return made, [str(warning.message) for warning in caught]


def map_of(depth: npt.NDArray[np.floating[Any]]) -> xr.DataArray:
    """The map of the shift, so many slices below the slice of the plane."""
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0)
    flat = 2 * (grid + 0.5 - SHIFT_PX) - 0.5 - grid
    whole = np.concatenate([np.broadcast_to(depth, (SIDE, SIDE))[..., np.newaxis], flat], axis=2)
    dims = ("z", "y", "x", "axis")
    return xr.DataArray(whole[np.newaxis].astype(np.float32), dims=dims)


def agreement(made: TracesExtracted, scene: Scene) -> npt.NDArray[np.float64]:
    rows = made.rois.coords["nucleus"].values - 1
    return np.array([
        np.corrcoef(trace, scene.activity[row])[0, 1]
        for trace, row in zip(made.rois.values, rows, strict=True)
    ])  # fmt: skip


def test_a_map_and_the_offset_it_stands_for_give_the_same_labels(scene: Scene) -> None:
    by_offset, _ = extracted(scene)
    by_map, _ = extracted(scene, map_of(np.zeros(1)))

    np.testing.assert_array_equal(by_offset.plane_labels.values, by_map.plane_labels.values)
    np.testing.assert_array_equal(by_offset.rois.values, by_map.rois.values)
    assert len(by_map.rois) == 25
    assert agreement(by_map, scene).min() > 0.95


def test_a_tilted_plane_takes_each_pixel_from_its_own_slice(scene: Scene) -> None:
    tilted = map_of(np.linspace(-1, 1, SIDE)[:, np.newaxis])
    numbered = scene._replace(
        labels=data.labels(
            np.broadcast_to(np.arange(1, 4, dtype=np.uint32)[:, None, None], (3, 96, 96)),
            voxel_um=(1, 0.5, 0.5),
        )
    )
    made, _ = extracted(numbered, tilted)

    inside = made.plane_labels.values[0, :, SIDE // 2]
    depth = 1 + np.linspace(-1, 1, SIDE)
    seen = inside > 0
    assert seen.sum() > SIDE - 4  # two rows read from above the slice
    np.testing.assert_array_equal(inside[seen], np.floor(depth[seen] + 0.5) + 1)


def test_pixels_below_or_above_the_stack_have_no_label(scene: Scene) -> None:
    made, said = extracted(scene, map_of(np.full(1, 5.0)))

    assert not made.plane_labels.values.any()
    assert said == ["plane 0 (slice 1) has no nuclei"]
    assert np.isnan(made.control.values).all()


def test_the_movie_can_come_to_the_slice_instead(scene: Scene) -> None:
    labels, _ = extracted(scene)
    for more in ((), (map_of(np.zeros(1)),)):
        made, said = extracted(scene, *more, direction="movie")

        assert said == []
        assert made.plane_labels.shape == (1, 2 * SIDE, 2 * SIDE)
        # The slice is taken as it is, but for the edge that the plane does not reach.
        inner = (slice(6, -6), slice(6, -6))
        np.testing.assert_array_equal(
            made.plane_labels.values[0][inner], scene.labels.values[1][inner]
        )
        assert made.plane_labels.coords["y"].equals(scene.labels.coords["y"])
        assert agreement(made, scene).min() > 0.95
        # Both average the same light; the nearest pixel is off by a quarter at most.
        both = made.rois.mean("time").values / labels.rois.mean("time").values
        np.testing.assert_allclose(both, 1, atol=0.1)
        # Four structural pixels to a functional one.
        area = made.rois.coords["area_px"].values / labels.rois.coords["area_px"].values
        np.testing.assert_allclose(np.median(area), 4, atol=0.5)


def test_a_moved_movie_does_not_depend_on_the_blocks(scene: Scene) -> None:
    made, _ = extracted(scene, direction="movie")
    whole = extract_traces(
        scene.movie, scene.labels, scene.planes, params=ExtractTraces(direction="movie")
    )

    np.testing.assert_array_equal(made.rois.values, whole.rois.values)


def test_the_original_s_arithmetic_leaves_the_movie_where_it_is() -> None:
    with pytest.raises(SettingsError, match="takes the movie as it is"):
        ExtractTraces.parse({"compat": "clg", "direction": "movie"}, section="extract_traces")


def test_rois_that_are_placed_badly_can_be_left_out(scene: Scene) -> None:
    residual = np.zeros((1, SIDE, SIDE), np.float32)
    residual[:, :20], residual[:, 36:] = 1.5, np.nan
    off = xr.DataArray(residual, dims=("z", "y", "x"))
    everything, silent = extracted(scene, None, off)
    for direction, n_px in (("labels", 1), ("movie", 2)):
        made, said = extracted(scene, None, off, max_registration_error_px=1.0, direction=direction)

        assert said == ["10 of 25 rois are placed worse than 1 px and were left out"]
        # Those of unknown error stay.
        assert np.isnan(made.rois.coords["registration_error_px"].values).sum() == 5
        assert (made.rois.coords["y_px"].values > 20 * n_px - 4).all()
    assert silent == []
    assert len(everything.rois) == 25


def test_the_shifted_control_tells_right_labels_from_wrong_ones(scene: Scene) -> None:
    right, _ = extracted(scene)
    aside = scene._replace(planes=scene.planes.assign_coords(shift_y_px=("z", [6.5])))
    far, _ = extracted(aside)

    assert right.control.dims == ("z", "measure")
    fraction, p_value = right.control.values[0]
    assert fraction > 0.95
    assert p_value < 0.01
    # Five pixels off, in a lattice of eight, labels lie between the cells.
    assert far.control.values[0, 0] < 0.75
    assert far.control.values[0, 1] > 0.05


def test_a_map_of_two_axes_is_refused(scene: Scene) -> None:
    flat = map_of(np.zeros(1)).isel(axis=slice(1, None))

    with pytest.raises(DataError, match=r"shape \(1, 48, 48, 2\); wanted is \(1, 48, 48, 3\)"):
        extracted(scene, flat)
