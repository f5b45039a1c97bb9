"""Mean traces of rois."""

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.traces import extract, find_rois


@pytest.fixture
def labels() -> npt.NDArray[np.uint32]:
    made = np.random.default_rng(1).integers(0, 6, (19, 23)).astype(np.uint32) * 7
    made[0, 0] = 99  # a single pixel
    made[made == 0] = 0
    return made


def make_frames(dtype: str, n_frames: int = 5) -> npt.NDArray[np.generic]:
    return np.random.default_rng(2).integers(0, 250, (n_frames, 19, 23)).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "i4", "f2", "f4", ">f4", "f8", "bool"])
def test_a_trace_is_the_mean_over_the_pixels(labels: npt.NDArray[np.uint32], dtype: str) -> None:
    frames = make_frames(dtype)
    rois = find_rois(labels)

    traces = extract(frames, rois)

    expected = [frames[:, labels == n].astype(float).mean(axis=1) for n in rois.nucleus]
    assert traces.dtype == np.float32
    np.testing.assert_allclose(traces, expected, rtol=1e-7)  # one rounding to float32


@pytest.mark.parametrize(
    ("dtype", "result"), [("u2", np.float64), ("f4", np.float32), ("f8", np.float64)]
)
def test_compat_keeps_the_notebooks_dtype(
    labels: npt.NDArray[np.uint32], dtype: str, result: type[np.generic]
) -> None:
    frames = make_frames(dtype)
    rois = find_rois(labels)

    traces = extract(frames, rois, compat=True)

    expected = [frames[:, labels == n].mean(axis=1) for n in rois.nucleus]
    assert traces.dtype == result
    np.testing.assert_array_equal(traces, expected)


def test_pixels_without_a_number_are_left_out() -> None:
    frames = np.array([[[1, 2, 3, 6]], [[np.nan, 2, 3, 7]], [[np.nan, np.nan, np.nan, 7]]])
    rois = find_rois(np.array([[4, 4, 4, 4]]))

    traces = extract(frames, rois)

    # Half of the pixels are enough, a quarter is not.
    np.testing.assert_array_equal(traces, [[3, 4, np.nan]])
    assert np.isnan(extract(frames, rois, compat=True)).tolist() == [[False, True, True]]


def test_pixels_that_are_not_valid_are_left_out() -> None:
    frames = np.array([[[1, 2, 3, 60]], [[5, 6, 7, 60]]], np.uint16)
    rois = find_rois(np.array([[4, 4, 4, 9]]))
    always = np.array([[True, True, False, True]])
    sometimes = np.array([[[True, True, True, False]], [[False, False, True, True]]])

    np.testing.assert_array_equal(extract(frames, rois, valid=always), [[1.5, 5.5], [60, 60]])
    np.testing.assert_array_equal(
        extract(frames, rois, valid=sometimes), [[2, np.nan], [np.nan, 60]]
    )


def test_valid_pixels_must_still_be_numbers() -> None:
    frames = np.array([[[1, np.nan, 3]]], np.float32)
    rois = find_rois(np.array([[4, 4, 4]]))

    traces = extract(frames, rois, valid=np.array([[True, True, True]]))

    np.testing.assert_array_equal(traces, [[2]])


def test_infinity_is_not_hidden() -> None:
    frames = np.array([[[np.inf, 2]], [[np.inf, -np.inf]]])
    rois = find_rois(np.array([[4, 4]]))

    np.testing.assert_array_equal(extract(frames, rois), [[np.inf, np.nan]])


@pytest.mark.parametrize("compat", [False, True])
def test_no_roi_and_no_frame_are_legal(labels: npt.NDArray[np.uint32], compat: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    nothing = find_rois(np.zeros((19, 23), np.uint32))

    assert extract(make_frames("u2"), nothing, compat=compat).shape == (0, 5)
    assert extract(make_frames("u2", 0), find_rois(labels), compat=compat).shape == (6, 0)


def test_a_read_only_view_is_read(labels: npt.NDArray[np.uint32]) -> None:
    frames = make_frames("u2", 8)
    frames.setflags(write=False)
    rois = find_rois(labels)

    np.testing.assert_array_equal(extract(frames[::2], rois), extract(frames, rois)[:, ::2])


def test_another_shape_is_named(labels: npt.NDArray[np.uint32]) -> None:
    rois = find_rois(labels)

    with pytest.raises(ValueError, match=r"\(23, 19\) and the labels \(19, 23\)"):
        extract(make_frames("u2").transpose(0, 2, 1), rois)
    with pytest.raises(ValueError, match=r"\(T, Y, X\) is wanted"):
        extract(make_frames("u2")[0], rois)
    with pytest.raises(TypeError, match="complex128"):
        extract(make_frames("c16"), rois)


def test_a_mask_that_does_not_fit_is_refused(labels: npt.NDArray[np.uint32]) -> None:
    frames, rois = make_frames("u2"), find_rois(labels)

    with pytest.raises(TypeError, match="uint8, but bool"):
        extract(frames, rois, valid=np.ones((19, 23), np.uint8))
    with pytest.raises(ValueError, match=r"valid has shape \(4, 19, 23\)"):
        extract(frames, rois, valid=np.ones((4, 19, 23), bool))
    with pytest.raises(ValueError, match="leave out either"):
        extract(frames, rois, valid=np.ones((19, 23), bool), compat=True)
