"""Laws of what goes along a movie: NoRMCorre's passes and the running template."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clgkit.registration import (
    NormcorreSettings,
    RunningTemplate,
    apply_like_normcorre,
    find_bad_pixels,
    iterate_like_normcorre,
    plan_bins,
    register_like_normcorre,
)
from clgkit.registration.normcorre_patches import apply_patches, cut_field

SMALL = NormcorreSettings(
    grid_px=24, overlap_px=8, apply_overlap_px=8, least_cell_px=8, max_shift_px=6, bin_frames=4,
    upsampling=10,
)  # fmt: skip
RIGID = SMALL._replace(grid_px=64, max_deviation_px=0)
seeds = st.integers(0, 2**16)


def wrapping(seed: int, side: int = 48) -> np.ndarray:
    """Return a smooth positive image that goes on at its other edge."""
    noise = np.random.default_rng(seed).random((side, side))
    smooth = ndimage.gaussian_filter(noise, 1.5, mode="wrap")
    return np.asarray(1000 * (smooth - smooth.min()))


def movie_of(seed: int, n_frames: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = wrapping(seed)
    moves = rng.integers(-4, 5, (n_frames, 2))
    return np.stack([np.roll(image, move, (0, 1)) for move in moves]) + rng.random((48, 48))


class Slices:
    """A movie that can only be read in slices of frames, and keeps count."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.shape = frames.shape
        self.read: list[int] = []

    def __getitem__(self, key: slice, /) -> Any:
        assert isinstance(key, slice)
        part = self.frames[key]
        self.read.append(len(part))
        return part


@settings(max_examples=10)
@given(seed=seeds, move=st.tuples(st.integers(-6, 6), st.integers(-6, 6)))
def test_what_moves_around_the_edges_is_found_to_the_pixel(
    seed: int, move: tuple[int, int]
) -> None:
    image = wrapping(seed)
    fixed = RIGID._replace(update_template=False, iterations=1)

    made = register_like_normcorre(np.roll(image, move, (0, 1))[None], fixed, template=image)

    np.testing.assert_array_equal(made.rigid[0], np.negative(move))
    assert made.patch_shift.shape == (1, 1, 1, 2)


@settings(max_examples=8)
@given(seed=seeds, move=st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
def test_a_template_that_moves_takes_the_shifts_with_it(seed: int, move: tuple[int, int]) -> None:
    """Patches see cut edges, whole frames do not: the law holds exactly for those alone."""
    frames, image = movie_of(seed, 3).clip(0), wrapping(seed)
    fixed = RIGID._replace(update_template=False, iterations=1, max_shift_px=12)

    here = register_like_normcorre(frames, fixed, template=image)
    there = register_like_normcorre(frames, fixed, template=np.roll(image, move, (0, 1)))

    # The maximum is looked for on a grid about the best half pixel.
    np.testing.assert_allclose(there.rigid, here.rigid + np.array(move, float), atol=0.11)


@settings(max_examples=6)
@given(seed=seeds, bin_frames=st.integers(2, 6), iterations=st.integers(1, 2))
def test_a_movie_in_blocks_is_the_movie_as_a_whole(
    seed: int, bin_frames: int, iterations: int
) -> None:
    frames = movie_of(seed)
    chosen = SMALL._replace(bin_frames=bin_frames, iterations=iterations)
    source = Slices(frames)

    whole = register_like_normcorre(frames, chosen)
    blocks = list(iterate_like_normcorre(source, chosen))

    for i, name in enumerate(("frames", "rigid", "patch_shift", "patch_phase")):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, whole[i], name)
    np.testing.assert_array_equal(blocks[-1].template, whole.template)
    assert [block.start for block in blocks] == np.cumsum(
        [0, *(len(block.frames) for block in blocks[:-1])]
    ).tolist()
    assert sum(source.read) == len(frames) * (1 + iterations)  # and once for the first template


@settings(max_examples=5)
@given(seed=seeds, fill=st.sampled_from(["copy", "nan", "minimum"]))
def test_frames_moved_again_stay_within_their_values(seed: int, fill: Any) -> None:
    frames = movie_of(seed, 5)
    chosen = SMALL._replace(fill=fill)
    made = register_like_normcorre(frames, chosen)

    again = apply_like_normcorre(frames, made.patch_shift, made.patch_phase, chosen)

    np.testing.assert_array_equal(again, made.frames)
    single = frames.astype(np.float32)
    assert (np.nanmin(again, (1, 2)) >= single.min((1, 2))).all()
    assert (np.nanmax(again, (1, 2)) <= single.max((1, 2))).all()
    assert fill == "nan" or np.isfinite(again).all()


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    overlap=st.integers(0, 20),
    least=st.integers(0, 30),
)
def test_cells_tile_the_field_and_patches_surround_them(
    shape: tuple[int, int], sides: tuple[int, int], overlap: int, least: int
) -> None:
    made = cut_field(shape, list(sides), overlap, least)

    count = np.zeros(shape, int)
    for cell, patch in zip(made.cells, made.patches, strict=True):
        count[cell] += 1
        for c, p, n in zip(cell, patch, shape, strict=True):
            assert (p.start, p.stop) == (max(c.start - overlap, 0), min(c.stop + overlap, n))
    assert (count == 1).all()
    assert len(made.cells) == made.shape[0] * made.shape[1]
    for axis, n in enumerate(made.shape):
        lengths = [cell[axis].stop - cell[axis].start for cell in made.cells]
        assert n == 1 or min(lengths) >= min(least, sides[axis])


@settings(max_examples=10)
@given(seed=seeds, overlap=st.integers(0, 9))
def test_a_frame_that_does_not_move_comes_back(seed: int, overlap: int) -> None:
    frame = np.random.default_rng(seed).uniform(0, 9, (31, 27))
    fine = cut_field(frame.shape, [9, 7], overlap, 0)

    made = apply_patches(frame, np.zeros((1, 1, 2)), np.zeros((1, 1)), fine, "copy")

    np.testing.assert_allclose(made, frame, atol=1e-12)  # weights are divided by their sum


@pytest.mark.parametrize(
    "change",
    [{"max_shift_px": -1}, {"max_deviation_px": -2}, {"max_shift_px": float("nan")},
     {"overlap_px": -30}, {"apply_overlap_px": -1}, {"least_cell_px": -1}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_words(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        register_like_normcorre(movie_of(0, 2), SMALL._replace(**change))


@given(n_frames=st.integers(1, 500), bin_frames=st.integers(1, 60))
def test_bins_cover_a_movie_in_order_and_leave_no_frame_alone(
    n_frames: int, bin_frames: int
) -> None:
    bins = plan_bins(n_frames, bin_frames=bin_frames)

    assert [t for place in bins for t in range(n_frames)[place]] == list(range(n_frames))
    lengths = [place.stop - place.start for place in bins]
    assert n_frames == 1 or bin_frames == 1 or min(lengths) > 1 or len(set(lengths)) == 1
    assert len(set(lengths[:-1])) <= 1


def frames_of(seed: int, n_frames: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = rng.normal(10, 3, (n_frames, 5, 6)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.2] = np.nan
    return frames


@given(
    seed=seeds,
    cuts=st.lists(st.integers(0, 12), max_size=5),
    keep_first=st.booleans(),
    buffer_bins=st.integers(1, 4),
)
def test_a_running_template_knows_bins_and_not_blocks(
    seed: int, cuts: list[int], *, keep_first: bool, buffer_bins: int
) -> None:
    frames, first = frames_of(seed, 12), np.full((5, 6), 10, np.float32)
    options: Any = {"keep_first": keep_first, "buffer_bins": buffer_bins}
    whole, parts = (RunningTemplate(first, **options) for _ in range(2))

    for start in (0, 4, 8):
        block = frames[start : start + 4]
        whole.add(block)
        for part in np.split(block, sorted(cut - start for cut in cuts if 0 < cut - start < 4)):
            parts.add(part)
        np.testing.assert_array_equal(whole.finish_bin(), parts.finish_bin())

    np.testing.assert_array_equal(whole.bins, parts.bins)


@given(seed=seeds, stop=st.integers(0, 3), keep_first=st.booleans(), buffer_bins=st.integers(1, 4))
def test_a_running_template_goes_on_from_what_was_stored(
    seed: int, stop: int, *, keep_first: bool, buffer_bins: int
) -> None:
    first = np.full((5, 6), 10, np.float32)
    options: Any = {"keep_first": keep_first, "buffer_bins": buffer_bins}
    blocks = np.split(frames_of(seed, 12), 4)
    straight = RunningTemplate(first, **options)
    resumed = straight
    for number, block in enumerate(blocks):
        if number == stop:
            resumed = RunningTemplate(first, bins=straight.bins, **options)
        straight.add(block)
        image = straight.finish_bin()
        if number >= stop:
            resumed.add(block)
            np.testing.assert_array_equal(resumed.finish_bin(), image)

    assert len(resumed.bins) == min(buffer_bins, 4)
    np.testing.assert_array_equal(resumed.bins, straight.bins)


@given(seed=seeds)
def test_the_median_of_bins_is_that_of_numpy(seed: int) -> None:
    blocks = np.split(frames_of(seed, 20), 5)
    running = RunningTemplate(np.zeros((5, 6), np.float32), keep_first=False)
    for block in blocks:
        running.add(np.nan_to_num(block, nan=1.0))
        running.finish_bin()

    means = np.stack([np.nan_to_num(b, nan=1.0).mean(axis=0, dtype=np.float64) for b in blocks])

    expected = np.median(means.astype(np.float32), axis=0)
    np.testing.assert_array_equal(running.image, expected)


def test_what_is_kept_of_a_template_is_a_copy() -> None:
    first = np.zeros((2, 2), np.float32)
    running = RunningTemplate(first)
    stored = running.bins
    first += 9
    running.add(np.ones((1, 2, 2)))
    running.finish_bin()

    assert stored.shape == (0, 2, 2)
    np.testing.assert_array_equal(running.image, np.full((2, 2), 0.5))


@settings(max_examples=15)
@given(
    seed=seeds,
    place=st.integers(2, 45),
    axis=st.sampled_from([0, 1]),
    length=st.sampled_from([16, 30, 48]),
    light=st.sampled_from([60.0, -60.0]),
)
def test_a_line_is_found_where_it_is_and_nowhere_else(
    seed: int, place: int, axis: int, length: int, light: float
) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(48, 48)), 3)
    frames = 100 + 10 * smooth / smooth.std() + rng.normal(0, 1, (40, 48, 48))
    start = int(rng.integers(0, 49 - length))
    line = (slice(start, start + length), place)
    frames[(slice(None), *(line if axis == 0 else line[::-1]))] += light

    found = find_bad_pixels(frames)

    expected = np.zeros((48, 48), bool)
    expected[line if axis == 0 else line[::-1]] = True
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=6)
@given(seed=seeds)
def test_bad_pixels_do_not_depend_on_the_order_of_frames_nor_on_gain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.poisson(50, (7, 24, 20)).astype(np.float32)
    frames[:, 5, 6] += 500
    frames[:, 9:11, 3] = np.nan

    found = find_bad_pixels(frames)

    assert found[5, 6]
    assert found[9:11, 3].all()
    np.testing.assert_array_equal(find_bad_pixels(frames[::-1]), found)
    np.testing.assert_array_equal(find_bad_pixels(4 * frames), found)
    np.testing.assert_array_equal(find_bad_pixels(frames[:, ::-1])[::-1], found)
    np.testing.assert_array_equal(find_bad_pixels(frames.transpose(0, 2, 1)).T, found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (2, 2), (3, 40)])
def test_fields_of_hardly_any_pixel_have_no_bad_ones(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).poisson(50, (5, *shape))

    assert find_bad_pixels(frames).shape == shape
    assert not find_bad_pixels(np.full((2, *shape), 7)).any()
