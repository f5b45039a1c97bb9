"""Movies of one frame or two, and frames that show nothing: clean results or one sentence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.registration import (
    NormcorreSettings,
    PiecewiseShifts,
    RigidShifts,
    apply_shifts,
    correlation_to_template,
    estimate_line_offset,
    find_bad_frames,
    find_bad_pixels,
    frame_statistics,
    make_template,
    pool_frames,
    prepare_piecewise,
    prepare_rigid,
    register_like_normcorre,
    register_piecewise,
    register_rigid,
    residual_flow,
    settle_shifts,
)
from tests.unit.registration_scene import make_scene

Float32 = npt.NDArray[np.float32]
SHAPE = (64, 72)
SCENE = make_scene(shape=SHAPE, n_frames=6, seed=1)
PREPARED = prepare_piecewise(SCENE.clean, grid_px=32, overlap_px=16)
COMPAT = NormcorreSettings(grid_px=32, overlap_px=16, apply_overlap_px=16)


def poor(kind: str) -> Float32:
    frames = SCENE.movie.clip(0).astype(np.float32)
    if kind == "one frame":
        return frames[:1]
    if kind == "two frames":
        return frames[:2]
    empty = {"a NaN frame": np.nan, "an infinite frame": np.inf, "a constant frame": 7.25}
    frames[2] = empty[kind]
    return frames


KINDS = ["one frame", "two frames", "a NaN frame", "an infinite frame", "a constant frame"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_copes(kind: str) -> None:
    frames = poor(kind)
    shows = np.ptp(frames, axis=(1, 2)) > 0 if np.isfinite(frames).all() else np.arange(6) != 2
    template = make_template(frames)
    line = estimate_line_offset(frames)
    rigid = register_rigid(frames, PREPARED.rigid)
    bent = register_piecewise(frames, PREPARED)
    settled = settle_shifts(bent.patch_shift, bent.confident)
    made = apply_shifts(frames, settled, centers=bent.centers)
    agreement = correlation_to_template(made.frames, template)
    left = residual_flow(made.frames, PREPARED, bin_frames=2)

    assert np.isfinite(template).all()
    assert line.offset_px == 0  # there is none
    assert not find_bad_pixels(frames).any()
    np.testing.assert_array_equal(find_bad_frames(frame_statistics(frames)) == 0, shows)
    for found in (rigid, bent):
        np.testing.assert_array_equal(found.registered, shows)
        assert not found.confident[~shows].any()
        assert not found.at_edge.any()
    assert not bent.patch_shift[~shows].any()
    assert np.isfinite(settled).all()
    np.testing.assert_array_equal(np.isfinite(agreement), shows)
    assert np.isfinite(left.rms_px)
    assert pool_frames(frames, size=4).shape == (-(-len(frames) // 4), *SHAPE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [True, False])
def test_the_scheme_for_comparison_copes(kind: str, *, given: bool) -> None:
    frames = poor(kind)
    made = register_like_normcorre(frames, COMPAT, template=SCENE.clean if given else None)
    shows = np.isfinite(frames).all(axis=(1, 2))

    np.testing.assert_array_equal(np.isfinite(made.frames).all(axis=(1, 2)), shows)
    assert np.isfinite(made.patch_shift).all()
    assert np.isfinite(made.template).all()
    if "two" not in kind and "one" not in kind:
        np.testing.assert_array_equal(made.patch_shift[2], 0)
    if kind == "a constant frame":
        np.testing.assert_array_equal(made.frames[2], frames[2])


@pytest.mark.parametrize("value", [np.nan, 3.0])
@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_a_movie_that_shows_nothing_is_told_in_one_sentence(value: float, n_frames: int) -> None:
    nothing = np.full((n_frames, *SHAPE), value)
    with pytest.raises(ValueError, match=f"none of {n_frames} frames can make a template"):
        make_template(nothing)
    with pytest.raises(ValueError, match="make no template; give one"):
        register_like_normcorre(nothing, COMPAT)
    with pytest.raises(ValueError, match="nothing to register to"):
        prepare_rigid(nothing[0])
    found = register_rigid(nothing, PREPARED.rigid), register_piecewise(nothing, PREPARED)
    assert not any(one.registered.any() or one.confident.any() for one in found)
    assert not estimate_line_offset(nothing).sure


def test_the_scheme_for_comparison_needs_whole_frames() -> None:
    frames = poor("two frames")
    frames[1, 3, 4:7] = np.nan
    with pytest.raises(ValueError, match="frame 1 has 3 pixels that are not finite"):
        register_like_normcorre(frames, COMPAT)


@pytest.mark.parametrize("shape", [(3, 64, 71), (3, 72, 64), (64, 72), (2, 3, 64, 72)])
def test_frames_that_do_not_fit_are_told_in_one_sentence(shape: tuple[int, ...]) -> None:
    frames = np.zeros(shape)
    with pytest.raises(ValueError, match="do not fit the template"):
        register_rigid(frames, PREPARED.rigid)
    with pytest.raises(ValueError, match="do not fit the template"):
        register_piecewise(frames, PREPARED)


def test_no_frames_give_no_numbers() -> None:
    none = np.zeros((0, *SHAPE))
    found: tuple[RigidShifts, PiecewiseShifts] = (
        register_rigid(none, PREPARED.rigid),
        register_piecewise(none, PREPARED),
    )
    for one in found:
        for name in set(one._fields) - {"centers"}:
            assert len(getattr(one, name)) == 0
    with pytest.raises(ValueError, match="expected frames"):
        estimate_line_offset(none)
    with pytest.raises(ValueError, match="none of 0 frames"):
        make_template(none)
