"""Scenes of the benchmarks of alignment, fish and methods; pages name figures that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from benchmarks import _fish_planes as scene
from benchmarks import alignment, fish, methods
from benchmarks.harness import figures_of
from clgkit.segmentation import match_labels, overlap_table
from clgkit.simulate import Fish, preset

PAGES = sorted((Path(__file__).parents[2] / "docs" / "methods").glob("*.md"))
COMMAND = re.compile(r"^python -m benchmarks --only (\w+) +#(.*(?:\n +#.*)*)", re.MULTILINE)
OFFSET_PX = np.array([1.2, -0.7])


def named(page: Path) -> Iterator[tuple[str, str]]:
    """Packages and figures that a page names after its command."""
    for found in COMMAND.finditer(page.read_text(encoding="utf-8")):
        for name in re.findall(r"\w+", found[2]):
            yield found[1], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_figures_that_a_page_names_are_printed_by_its_command(page: Path) -> None:
    there = {package: {name for name, _ in figures_of(package)} for package, _ in named(page)}

    assert [pair for pair in named(page) if f"figure_{pair[1]}" not in there[pair[0]]] == []


def test_the_pages_of_preprocessing_name_their_figures() -> None:
    pages = {page.stem for page in PAGES if any(named(page))}
    measured = {"align_planes", "extract_traces", "segment_nuclei", "normalize_contrast"}

    assert pages >= measured | {"merge_planes", "compute_dff", "denoise_traces"}
    align = dict.fromkeys(name for _, name in named(PAGES[0].with_name("align_planes.md")))
    assert list(align)[::9] == ["own_margin", "nuclear_few"]  # both lines are read


def test_the_planes_that_are_hard_to_place_are_counted_kind_by_kind() -> None:
    made = scene.all_doubted("toy")

    assert made.off.shape == made.doubtful.shape
    assert len(made.off) == len(scene.HARD)
    # In full light and in focus they lie right, and nothing speaks against them.
    assert (made.off[0] <= 1).all()
    assert not made.doubtful[0].any()
    # Where there is hardly any light, their scores do.
    assert made.doubtful[[light < 0.01 for light, _ in scene.HARD]].any()


def exact_field(side: int) -> np.ndarray:
    """The map of a plane whose pixels are two structural ones wide and lie `OFFSET_PX` aside."""
    here = np.indices((side, side)).transpose(1, 2, 0)
    return np.asarray(2 * (here + OFFSET_PX) + 0.5 - here)


def test_the_true_map_has_no_error_and_a_shift_has_its_own() -> None:
    field = exact_field(40)

    assert scene.field_errors_px(field, OFFSET_PX).shape == (16, 16)
    np.testing.assert_allclose(scene.field_errors_px(field, OFFSET_PX), 0, atol=1e-12)
    # Two structural pixels along y are one functional pixel.
    moved = scene.field_errors_px(field + np.array([2.0, 0.0]), OFFSET_PX)
    np.testing.assert_allclose(moved, 1, atol=1e-12)


def test_depth_errors_are_those_of_middle_and_tilt() -> None:
    flat = np.zeros((1, 2))
    same = scene.depth_errors(np.array([4.0]), np.array([3.5]), (flat, flat))
    askew = np.array([[2.0, 0.0]])
    leaning = scene.depth_errors(np.array([4.0]), np.array([4.0]), (askew, flat))

    np.testing.assert_allclose(same, 0.5)
    assert (leaning.min(), leaning.max()) == (-1, 1)
    assert leaning.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("channel", ["calcium", "nuclear"])
def test_a_still_movie_shows_the_labels_where_the_offset_says(channel: scene.Channel) -> None:
    made = scene.still("toy", 0, channel, 20)
    settings = preset("tiny", seed=0)
    assert np.abs(made.offset_px).max() <= settings.plane_offset_px

    # Pixel (y, x) of a plane shows the still scene at (y, x) + offset: the nearest one will do.
    labels = Fish(settings).labels_at_plane(1)
    back = np.rint(made.offset_px[1]).astype(int)
    inside = np.roll(labels > 0, tuple(-back), axis=(0, 1))[6:-6, 6:-6]
    image = made.seen.planes[1, 6:-6, 6:-6]
    contrast = image[inside].mean() - image[~inside].mean()
    assert contrast > 0 if channel == "nuclear" else contrast < image.std()


def test_a_still_movie_does_not_move() -> None:
    frames = scene.still_fish("toy", 1, 20).nuclear_block(0, 0, 20).astype(np.float64)
    rest = (frames[:10].mean(axis=0) - frames[10:].mean(axis=0))[6:-6, 6:-6]

    # What is left is noise: neighbours have nothing in common, as they would after a movement.
    assert abs(np.corrcoef(rest[:, 1:].ravel(), rest[:, :-1].ravel())[0, 1]) < 0.1


def test_level_planes_are_cut_from_their_own_slice_and_tilted_ones_are_not() -> None:
    level, leaning = (scene.tilted("toy", 0, spans) for spans in ((0.0, 0.0), (2.0, 0.0)))
    made = Fish(preset("tiny", seed=0))
    clean = made.clean_block(0, 0, scene.TILTED_FRAMES).mean(axis=0)

    first = np.clip(made.slice_of_plane - scene.REACH, 0, 32 - 2 * scene.REACH - 1)
    np.testing.assert_array_equal(level.position + first, made.slice_of_plane)
    assert all(len(stack) == 2 * scene.REACH + 1 for stack in level.stacks)
    assert np.corrcoef(level.planes[0].ravel(), clean.ravel())[0, 1] > 0.95
    middle, edge = (abs(level.planes[0] - leaning.planes[0])[rows].mean() for rows in (32, 0))
    assert edge > 2 * middle


def test_noise_is_that_of_so_many_frames() -> None:
    settings = preset("tiny")
    mean = np.full((200, 200), settings.offset + settings.gain * 10, np.float32)
    seen = scene.with_noise(mean, settings, n_frames=40, rng=np.random.default_rng(0))

    # Ten photons and the read noise, in counts; 40,000 pixels tell a deviation to half a percent.
    expected = np.sqrt((settings.gain**2 * 10 + settings.read_noise**2) / 40)
    assert seen.std() == pytest.approx(expected, rel=0.02)


def test_the_rms_is_taken_over_everything() -> None:
    assert alignment.rms([[3.0, 4.0]]) == pytest.approx(np.sqrt(12.5))


def test_a_neuron_whose_rois_show_the_truth_is_told_like_it() -> None:
    """Rois that are the true traces lack nothing; those of noise lack nearly everything."""
    seen = fish.followed("toy")
    rois = fish.traced("toy", "labels").rois
    true = seen.fish.fluorescence[rois.coords["nucleus"].values - 1]
    exact = xr.DataArray(true, dims=rois.dims, coords=rois.coords)
    noise = exact.copy(data=np.random.default_rng(0).normal(size=true.shape).astype(np.float32))

    assert np.nanmax(fish.unlike("toy", exact, "area").values) < 1e-5  # float32
    assert np.nanmedian(fish.unlike("toy", noise, "area").values) > 0.5


def test_nuclei_of_the_fish_are_scored_against_its_own_labels() -> None:
    made = fish.Fish(scene.fish_settings("toy", seed=0))
    truth = fish.labels_of(made).values
    found = fish.segmented(fish.stack_of(made), made, "classical")

    assert found.score.n_truth == len(np.unique(truth)) - 1
    assert len(match_labels(overlap_table([(truth, truth)])).truth_ids) == found.score.n_truth
    assert found.cpu_s > 0


def test_larger_transients_keep_more_of_their_area() -> None:
    assert 0 < methods.kept_share("toy", 0.1) < methods.kept_share("toy", 1.0) < 1


def test_correlations_of_coordinates_are_cosines() -> None:
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])

    np.testing.assert_allclose(methods.correlations(rows), [1, 0, 0])
