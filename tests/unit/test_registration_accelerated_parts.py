"""The steps of motion correction on a device, each beside its twin on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration.bidirectional import undo_line_offset
from clgkit.registration.cubic import sample_row
from clgkit.registration.field import Centers, covariance, most_likely_field
from clgkit.registration.filters import difference_of_gaussians
from clgkit.registration.matching import fit_patches, prepare_patches, search_patches
from clgkit.registration.patches import plan_patches
from clgkit.registration.spectrum import correlate, prepare_correlator

torch = pytest.importorskip("torch", reason="the extra clgkit[deep] is not installed")

from clgkit.registration import accelerated_patches as patches  # noqa: E402
from clgkit.registration.accelerated import batches, download, upload  # noqa: E402
from clgkit.registration.accelerated_filters import filter_frames, prepare_band_pass  # noqa: E402
from clgkit.registration.accelerated_sampling import sample, undo_line_offsets  # noqa: E402
from clgkit.registration.accelerated_shifts import correlate_frames, upload_correlator  # noqa: E402

RNG = np.random.default_rng(5)
ROUNDING = 2e-6  # single precision, values of about 1


def images(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", ">u2", "i2", ">i2", "u4", "i4", "i8", "f2", ">f4", "f8"]
)
def test_frames_of_any_dtype_arrive(dtype: str) -> None:
    frames = RNG.integers(0, 100, (5, 3, 4)).astype(dtype)
    if np.dtype(dtype).itemsize == 2 and np.dtype(dtype).kind == "u":
        frames[0, 0, 0] = 65535
    arrived = [(numbers, download(values)) for numbers, values in batches(frames, "cpu")]

    assert [list(numbers) for numbers, _ in arrived] == [[0, 1, 2, 3, 4]]
    np.testing.assert_array_equal(arrived[0][1], frames.astype(np.float32))


def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clgkit.registration.accelerated.BATCH_PIXELS", 30)
    sizes = [len(numbers) for numbers, _ in batches(images(5, 3, 4), "cpu")]

    assert sizes == [2, 2, 1]


def test_frames_that_must_not_be_written_to_are_read() -> None:
    frames = images(2, 3, 4)
    frames.flags.writeable = False
    (_, values), *_ = batches(frames, "cpu")

    np.testing.assert_array_equal(download(values), frames)


@pytest.mark.parametrize("shape", [(64, 48), (63, 48), (20, 90), (1, 5), (7, 1)])
@pytest.mark.parametrize("band_px", [(1.0, 8.0), (0.8, 3.0)])
def test_the_filter_is_that_of_the_cpu(
    shape: tuple[int, int], band_px: tuple[float, float]
) -> None:
    frames = 1000 + images(3, *shape)
    frames[1, : shape[0] // 2, : shape[1] // 2] = np.nan
    expected = [difference_of_gaussians(frame, band_px=band_px) for frame in frames]
    band = prepare_band_pass(shape, band_px, "cpu")
    filtered, valid = filter_frames(upload(frames, "cpu"), band)

    # 1000 in single precision leaves 6e-5 of a value.
    np.testing.assert_allclose(download(filtered), expected, atol=1e-4)
    missing = np.isnan(frames)
    assert (valid is None) == (not missing.any())
    if valid is not None:
        np.testing.assert_array_equal(download(valid), ~missing)
    whole, _ = filter_frames(upload(frames[:1], "cpu"), band)
    np.testing.assert_allclose(download(whole)[0], expected[0], atol=1e-4)


def test_a_frame_without_a_finite_pixel_becomes_zero() -> None:
    band = prepare_band_pass((16, 16), (1.0, 8.0), "cpu")
    filtered, _ = filter_frames(upload(np.full((1, 16, 16), np.nan, np.float32), "cpu"), band)

    np.testing.assert_array_equal(download(filtered), 0)


@pytest.mark.parametrize("whole", ["", "y", "x", "yx"])
def test_places_are_read_as_on_the_cpu(whole: str) -> None:
    frames = images(2, 24, 31)
    frames[1, 10, 10] = np.nan
    fields = [RNG.uniform(-4, 4, frames.shape).astype(np.float32) for _ in "yx"]
    y, x = (f.round() if name in whole else f for f, name in zip(fields, "yx", strict=True))
    expected = np.empty_like(frames)
    for t, row in np.ndindex(2, 24):
        fill = np.full(31, 99, np.float32)
        sample_row(frames[t], row, y[t, row], x[t, row], fill, expected[t, row])
    value, inside = sample(upload(frames, "cpu"), upload(y, "cpu"), upload(x, "cpu"))
    found = np.where(download(inside), download(value), np.float32(99))

    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert (found == 99).any()


@pytest.mark.parametrize("offset_px", [0.3, -1.37, 2.0, 40.0])
def test_line_offsets_are_undone_as_on_the_cpu(offset_px: float) -> None:
    frames = images(2, 9, 20)
    expected = [undo_line_offset(frame, offset_px) for frame in frames]
    found = download(undo_line_offsets(upload(frames, "cpu"), offset_px))

    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    np.testing.assert_array_equal(found[:, ::2], frames[:, ::2])


def test_shifts_and_what_tells_of_them_are_those_of_the_cpu() -> None:
    template = difference_of_gaussians(images(60, 70))
    frames = np.stack([np.roll(template, shift, (0, 1)) for shift in ((2, -3), (0, 0), (9, 9))])
    frames += 0.1 * difference_of_gaussians(images(60, 70))
    frames[1] *= 3
    valid = RNG.random(frames.shape) > 0.05
    correlator = prepare_correlator(template, max_shift_px=5)
    on_device = upload_correlator(correlator, "cpu")
    for mask in (None, valid):
        shown = frames if mask is None else frames * mask
        found = correlate_frames(
            upload(shown, "cpu"), on_device, valid=None if mask is None else upload(mask, "cpu")
        )
        for t, frame in enumerate(shown):
            match = correlate(frame, correlator, valid=None if mask is None else mask[t])
            for name, expected in match._asdict().items():
                got = download(getattr(found, name)[t])
                np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=name)


def test_a_window_without_room_for_a_rival_is_trusted() -> None:
    template = difference_of_gaussians(images(40, 40))
    correlator = upload_correlator(prepare_correlator(template, max_shift_px=1), "cpu")
    found = correlate_frames(upload(np.stack([template, 0 * template]), "cpu"), correlator)

    assert download(found.second_peak)[0] == -1
    assert download(found.background)[0] == 0
    np.testing.assert_array_equal(np.isnan(download(found.peak)), [False, True])


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return a template and frames near it."""
    template = difference_of_gaussians(images(72, 81))
    shifts = ((0, 0), (2, 1), (-3, 2))
    frames = np.stack([np.roll(template, shift, (0, 1)) for shift in shifts])
    return template, (0.8 * frames + 0.1 * images(3, 72, 81)).astype(np.float32)


@pytest.mark.parametrize("max_deviation_px", [0, 2, 5])
def test_the_coarse_search_finds_what_it_finds_on_the_cpu(
    scene: tuple[np.ndarray, np.ndarray], max_deviation_px: float
) -> None:
    template, frames = scene
    grid = plan_patches((72, 81), grid_px=24, overlap_px=12)
    prepared = prepare_patches(
        template, grid, valid=None, max_deviation_px=max_deviation_px, band_px=(1.0, 8.0)
    )
    rigid = np.array([[0.3, -0.4], [1.0, -1.0], [2.5, -17.0]])
    expected = [search_patches(f, prepared, r) for f, r in zip(frames, rigid, strict=True)]
    on_device = patches.upload_patches(prepared, "cpu")
    found = patches.search_patches(upload(frames, "cpu"), on_device, upload(rigid, "cpu"))

    np.testing.assert_allclose(download(found), expected, atol=1e-4)


def test_a_step_of_the_patches_is_that_of_the_cpu(scene: tuple[np.ndarray, np.ndarray]) -> None:
    template, frames = scene
    grid = plan_patches((72, 81), grid_px=24, overlap_px=12)
    prepared = prepare_patches(template, grid, valid=None, max_deviation_px=3, band_px=(1.0, 8.0))
    y, x = (RNG.uniform(-2, 2, (3, 1, 1)) + np.zeros(frames.shape) for _ in "yx")
    y, x = y.astype(np.float32), x.astype(np.float32)
    gain = np.array([0.8, 1.0, 0.2])
    found = patches.fit_patches(
        upload(frames, "cpu"),
        patches.upload_patches(prepared, "cpu"),
        (upload(y, "cpu"), upload(x, "cpu")),
        upload(gain, "cpu"),
    )
    for t, frame in enumerate(frames):
        expected = fit_patches(frame, prepared, (y[t], x[t]), float(gain[t]))
        for name, value in expected._asdict().items():
            got = download(getattr(found, name)[t])
            np.testing.assert_allclose(got, value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_fields_are_those_of_the_cpu() -> None:
    centers = Centers(np.arange(4) * 30.0, np.arange(5) * 30.0)
    likeness = covariance(centers, length_px=120)
    found = RNG.normal(size=(3, 20, 2)) * np.array([0, 0.2, 2])[:, None, None]
    noise = RNG.uniform(0.01, 0.2, (3, 20, 2))
    noise[2, 4] = np.inf
    expected = [most_likely_field(f, n, likeness) for f, n in zip(found, noise, strict=True)]
    made = patches.most_likely_fields(*(upload(a, "cpu") for a in (found, noise, likeness)))

    np.testing.assert_allclose(download(made), expected, atol=1e-10)  # double precision
