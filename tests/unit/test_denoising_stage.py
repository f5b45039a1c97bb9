"""The stage denoise: planes, tiles, factors, bad frames, warnings, and the comparison."""

import json
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import workspace as workspace_module
from clgkit.denoising import denoise_gaussian, denoise_lowrank
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline.store import Partial
from clgkit.stages import _denoise_planes, _denoise_quality
from clgkit.stages._denoise_residual import map_residual
from clgkit.stages._denoise_support import blind_spots
from clgkit.stages.denoise import (
    Denoise,
    Denoised,
    _warn,
    compare,
    denoise,
    factor_traces,
    plane_factors,
    recipe_of,
)
from clgkit.workspace import Workspace, failed_planes
from tests.unit.denoising_scene import correlated, dim_plane, movie_of, white

SERIAL = Workspace(executor="serial")
T, SIDE = 100, 40
FACTORS = {"store": "factors"}


def run(movie: xr.DataArray, bad: Any = None, **settings: Any) -> Denoised:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return denoise(movie, bad, params=Denoise(**settings), workspace=SERIAL)


def cells() -> np.ndarray:
    masks = dim_plane().masks[:, :SIDE, :SIDE]
    return masks[masks.any(axis=(1, 2))]


def bad_frames(movie: xr.DataArray, *marks: tuple[int, int]) -> xr.DataArray:
    made = xr.DataArray(np.zeros(movie.shape[:2], np.uint8), dims=("time", "z"))
    for frame, plane in marks:
        made[frame, plane] = 2
    return made


@pytest.fixture(scope="module")
def movie() -> xr.DataArray:
    return movie_of(*(dim_plane(photons).noisy[:T, :SIDE, :SIDE] for photons in (6.0, 2.0)))


@pytest.fixture(scope="module")
def made(movie: xr.DataArray) -> Denoised:
    return run(movie)


def test_every_plane_is_denoised_as_an_array_is(movie: xr.DataArray, made: Denoised) -> None:
    assert made.denoised is not None
    for plane in range(2):
        wanted = denoise_lowrank(movie.values[:, plane]).denoised
        np.testing.assert_array_equal(made.denoised.values[:, plane], wanted)


def test_filtered_courses_are_those_of_the_array(movie: xr.DataArray) -> None:
    made = run(movie, smooth=True)

    assert made.denoised is not None
    assert made.time_courses is not None
    wanted = denoise_lowrank(movie.values[:, 1], smooth=True).denoised
    np.testing.assert_array_equal(made.denoised.values[:, 1], wanted)


@pytest.mark.parametrize(("tile_mb", "block_mb"), [(1e-3, 0.05), (0.4, 0.3), (3.0, 48)])
def test_tiles_and_blocks_change_nothing(
    tile_mb: float,
    block_mb: float,
    movie: xr.DataArray,
    made: Denoised,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_denoise_planes, "TILE_MB", tile_mb)
    monkeypatch.setattr(workspace_module, "BLOCK_MB", block_mb)

    other = denoise(movie, workspace=Workspace(workers=2, executor="threads"))

    for ours, theirs in zip(made[:-1], other[:-1], strict=True):
        if ours is not None:
            np.testing.assert_array_equal(ours.values, theirs.values)
    assert made.summary == other.summary


def test_factors_give_the_traces_of_the_pixels(movie: xr.DataArray, made: Denoised) -> None:
    factors = run(movie, **FACTORS)
    masks = cells()

    assert factors.denoised is None
    assert made.denoised is not None
    for plane in range(2):
        found = factor_traces(factors, plane, masks)
        pixels = made.denoised.values[:, plane]
        wanted = np.stack([pixels[:, mask].mean(axis=1, dtype=np.float64) for mask in masks])
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_factors_are_smaller_than_pixels(movie: xr.DataArray) -> None:
    basis, courses = plane_factors(run(movie, **FACTORS), 0)

    n_numbers = courses.size + basis.footprints.size
    assert n_numbers < movie.values[:, 0].size / 2  # 100 frames; longer ones gain more


def test_traces_of_pixels_are_refused(made: Denoised) -> None:
    with pytest.raises(DataError, match='holds no factors; denoise with method = "lowrank"'):
        factor_traces(made, 0, cells())


def test_a_method_without_factors_is_refused(movie: xr.DataArray) -> None:
    with pytest.raises(SettingsError, match='Method "gaussian" has no factors'):
        run(movie, method="gaussian", **FACTORS)


def test_bad_frames_are_left_out_and_projected_or_blank(movie: xr.DataArray) -> None:
    flashed = movie.copy(deep=True)
    flashed[30, 0] = 9000.0
    bad = bad_frames(movie, (30, 0))

    projected, blank = (run(flashed, bad, bad_frames=choice) for choice in ("project", "blank"))

    assert projected.denoised is not None
    assert blank.denoised is not None
    rest = np.arange(T) != 30
    np.testing.assert_array_equal(projected.denoised.values[rest], blank.denoised.values[rest])
    assert np.isfinite(projected.denoised.values).all()
    assert np.isnan(blank.denoised.values[30, 0]).all()
    assert np.isfinite(blank.denoised.values[30, 1]).all()
    assert projected.summary["n_fit_frames"] == [T - 1, T]


@pytest.mark.parametrize("method", ["gaussian", "none"])
def test_bad_frames_of_the_other_methods(method: str, movie: xr.DataArray) -> None:
    bad = bad_frames(movie, (30, 0))

    projected = run(movie, bad, method=method).denoised
    blank = run(movie, bad, method=method, bad_frames="blank").denoised

    assert projected is not None
    assert blank is not None
    assert np.isfinite(projected.values).all()
    assert np.isnan(blank.values[30, 0]).all()
    assert np.isnan(blank.values).sum() == SIDE * SIDE


def test_the_gaussian_is_that_of_the_array_in_blocks_of_frames(
    movie: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.3)

    made = run(movie, method="gaussian").denoised

    assert made is not None
    np.testing.assert_array_equal(made.values[:, 0], denoise_gaussian(movie.values[:, 0]))


def test_none_passes_everything_through(movie: xr.DataArray) -> None:
    whole = run(movie.astype(np.float64), method="none")

    assert whole.denoised is not None
    np.testing.assert_array_equal(whole.denoised.values, movie.values)
    assert whole.denoised.dtype == np.float32
    assert whole.footprints is None


def test_a_short_movie_is_refused_with_what_to_do_and_none_takes_it(movie: xr.DataArray) -> None:
    short = movie[:7]

    with pytest.raises(DataError, match=r'7 good frames.*at least 8 frames. Take method "none"'):
        run(short)
    made = run(short, method="none")

    assert made.denoised is not None
    np.testing.assert_array_equal(made.denoised.values, short.values)
    assert np.isnan(made.sigma.values).all()
    json.dumps(made.summary, allow_nan=False)


def test_a_plane_that_shows_nothing_is_lost_alone(movie: xr.DataArray, made: Denoised) -> None:
    empty = movie.copy(deep=True)
    empty[:, 0] = np.nan

    found = run(empty)

    assert list(failed_planes(found.mean)) == [0]
    assert found.denoised is not None
    assert made.denoised is not None
    assert np.isnan(found.denoised.values[:, 0]).all()
    np.testing.assert_array_equal(found.denoised.values[:, 1], made.denoised.values[:, 1])
    assert np.isnan(found.quality.values[0]).all()
    assert found.summary["lost"] == [0]


def test_a_plane_lost_before_keeps_its_reason(movie: xr.DataArray) -> None:
    marked = movie.copy()
    marked.attrs["failed_planes"] = {"1": "it was blank"}

    made = run(marked)

    assert failed_planes(made.sigma) == {1: "it was blank"}
    assert failed_planes(run(marked, method="gaussian").mean) == {1: "it was blank"}


def test_marks_of_another_movie_are_refused(movie: xr.DataArray) -> None:
    with pytest.raises(DataError, match="100 along time, the marks of bad frames 90"):
        run(movie, bad_frames(movie[:90]))
    with pytest.raises(DataError, match="not a table of bad frames"):
        run(movie, movie)


def test_a_plane_without_noise_is_left_as_it_is_and_told() -> None:
    flat = movie_of(np.full((40, 20, 20), 7, np.uint16), white(40, 20, 20))

    with pytest.warns(UserWarning, match="planes 0 have pixels that hardly ever change"):
        made = denoise(flat, workspace=SERIAL)

    assert made.denoised is not None
    np.testing.assert_array_equal(made.denoised.values[:, 0], 7)
    assert made.summary["planes"][0]["n_constant"] == 400
    assert not made.summary["planes"][0]["has_noise"]


def test_an_averaged_movie_is_told() -> None:
    frames = white(100, 32, 32)

    with pytest.warns(UserWarning, match="planes 0 seem to be averaged over time or denoised"):
        denoise(movie_of((frames[1:] + frames[:-1]) / 2), workspace=SERIAL)


def test_noise_that_is_not_there_is_told(made: Denoised) -> None:
    wrong = deepcopy(made.summary)
    wrong["planes"][1]["heldout_excess"] = -0.3

    with pytest.warns(UserWarning, match="planes 1 have less noise than neighbouring frames say"):
        _warn(wrong)


def test_full_blocks_are_told(made: Denoised) -> None:
    full = deepcopy(made.summary)
    full["planes"][0]["n_full_blocks"] = 3

    with pytest.warns(UserWarning, match="planes 0 have blocks that need more than 32 components"):
        _warn(full)


def test_lost_planes_are_told_of_once(made: Denoised) -> None:
    lost = deepcopy(made.summary) | {"lost": [0, 1]}
    lost["planes"][0]["has_noise"] = False

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn(lost)


def test_the_summary_names_every_number(made: Denoised) -> None:
    summary = made.summary

    json.dumps(summary, allow_nan=False)
    assert summary["method"] == "lowrank"
    assert len(summary["noise"]) == made.noise.sizes["measure"]
    assert len(summary["quality"]) == made.quality.sizes["measure"]
    for plane, row in enumerate(summary["planes"]):
        assert row["peak"] == made.quality.values[plane, summary["quality"].index("peak")]
        assert row["n_components"] == int(made.n_components.values[plane].sum())  # type: ignore[union-attr]
        assert row["n_blocks"] == 16
        assert row["heldout_excess"] < 0.3
        assert row["peak"] > 0.8


def test_quality_looks_at_a_part_only_and_where_there_is_something(movie: xr.DataArray) -> None:
    ranks = np.zeros((7, 7), np.int32)
    ranks[4:, 3:] = 5

    assert _denoise_quality._corner((64, 64), (32, 32), ranks) == (32, 24)
    assert _denoise_quality._corner((64, 64), (32, 32), None) == (16, 16)
    assert _denoise_quality._corner((20, 64), (20, 32), np.zeros((2, 7), np.int32)) == (0, 0)
    row = run(movie).summary["planes"][0]
    assert (row["side_y"], row["side_x"]) == (32, 32)


def test_the_residual_of_every_pixel_is_its_mean_square_over_the_noise(
    movie: xr.DataArray, made: Denoised
) -> None:
    assert made.denoised is not None
    removed = (movie - made.denoised).values.astype(np.float64)
    wanted = (removed**2).mean(axis=0) / made.sigma.values.astype(np.float64) ** 2

    np.testing.assert_allclose(made.residual_variance.values, wanted, rtol=1e-6)  # float32
    assert made.residual_variance.dtype == np.float32
    # 100 frames and 50 pairs: the ratio of two variances scatters by 25 %.
    assert np.median(made.residual_variance.values) == pytest.approx(1, abs=0.1)


def test_cells_that_were_lost_are_bright_in_the_residual(movie: xr.DataArray) -> None:
    kept = run(movie[:, :1])
    looked = _denoise_planes.Looked(kept.mean, kept.sigma, kept.sigma, kept.noise, {})
    still = movie[:, :1].copy(data=np.repeat(kept.mean.values[None], T, axis=0))

    found = map_residual(movie[:, :1], bad_frames(still), still, looked, SERIAL).values[0]

    masks = cells().any(axis=0)
    assert found[masks].mean() > 1.2 * found[~masks].mean()  # rims are dim, and count as cells
    assert found[masks].max() > 2
    assert np.median(kept.residual_variance.values[0][masks]) < 1.1


def test_the_residual_leaves_bad_frames_and_missing_pixels_out(movie: xr.DataArray) -> None:
    holes = movie.copy(deep=True)
    holes[30, 0] = 9000.0
    holes[:, 0, :3] = np.nan
    holes[::2, 0, 3] = np.nan
    marks = bad_frames(movie, (30, 0))

    found = run(holes, marks).residual_variance.values[0]

    assert np.isnan(found[:3]).all()
    assert np.isfinite(found[4:]).all()
    assert found[4:].max() < 5


@pytest.mark.parametrize("method", ["gaussian", "none"])
def test_other_methods_have_a_residual_too(method: str, movie: xr.DataArray) -> None:
    found = run(movie, method=method).residual_variance.values

    assert found.shape == (2, SIDE, SIDE)
    assert (found == 0).all() == (method == "none")


def test_factors_have_the_residual_of_their_pixels(movie: xr.DataArray, made: Denoised) -> None:
    found = run(movie, **FACTORS)

    np.testing.assert_allclose(
        found.residual_variance.values, made.residual_variance.values, rtol=1e-5
    )


def test_a_plane_without_noise_has_no_residual() -> None:
    both = movie_of(np.full((T, 20, 20), 7, np.float32), white(T, 20, 20))

    found = run(both).residual_variance.values

    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("n_frames", [40, 160])
def test_few_frames_are_read_together_for_the_residual(
    n_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = movie_of(white(n_frames, 20, 20))
    kept = run(movie)
    assert kept.denoised is not None
    most: list[int] = []
    original = _denoise_planes.PlaneFrames.__getitem__

    def watched(frames: Any, key: Any) -> np.ndarray:
        read = original(frames, key)
        most.append(len(read))
        return read

    monkeypatch.setattr(_denoise_planes.PlaneFrames, "__getitem__", watched)
    looked = _denoise_planes.Looked(kept.mean, kept.sigma, kept.sigma, kept.noise, {})

    found = map_residual(movie, bad_frames(movie), kept.denoised, looked, SERIAL)

    assert max(most) == 16
    np.testing.assert_array_equal(found.values, kept.residual_variance.values)


def test_a_large_plane_is_judged_on_a_small_share(movie: xr.DataArray) -> None:
    large = xr.DataArray(np.zeros((1, 1, 512, 512), np.float32), dims=movie.dims)

    side = max(32, int(np.sqrt(_denoise_quality.SHARE * 512 * 512)) // 8 * 8)

    assert large.sizes["y"] == 512
    assert 3 * side**2 < 0.15 * 512**2


def test_all_methods_are_compared_and_the_best_is_first(movie: xr.DataArray) -> None:
    table = compare(movie, workspace=SERIAL)

    assert [row.rank for row in table] == [1, 2, 3, 4, 5]
    names = [row.method for row in table]
    assert names[0].startswith("lowrank")
    assert set(names) == {"none", "mean image", "gaussian", "lowrank", "lowrank, smooth"}
    by_name = {row.method: row for row in table}
    assert by_name["none"].heldout_excess == pytest.approx(2, abs=0.1)
    assert by_name["lowrank"].peak > by_name["lowrank, smooth"].peak > by_name["gaussian"].peak
    assert by_name["mean image"].correlation_rms > by_name["lowrank"].correlation_rms


def test_a_movie_without_noise_has_nothing_to_compare() -> None:
    table = compare(movie_of(np.full((20, 20, 20), 3.0, np.float32)), workspace=SERIAL)

    assert len(table) == 5
    assert all(np.isnan(row.heldout_excess) for row in table)


def test_a_network_is_needed_for_the_method_support(movie: xr.DataArray) -> None:
    with pytest.raises(SettingsError, match=r"needs a trained network.*clg train-denoiser"):
        run(movie, method="support")


@pytest.fixture(scope="module")
def network() -> Any:
    pytest.importorskip("torch")
    from clgkit.denoising.support_layout import SupportLayout
    from clgkit.denoising.support_net import new_network

    layout = SupportLayout(n_frames=5, widths=(4, 8), channels=4, depths=(3, 1))
    return new_network(layout, seed=0)


def test_a_network_runs_in_blocks_of_frames(
    network: Any, movie: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = movie[:40]
    whole = denoise(few, None, network, Denoise(method="support"), workspace=SERIAL)
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.2)

    parts = denoise(
        few, bad_frames(few, (3, 1)), network,
        Denoise(method="support", bad_frames="blank"),
        workspace=replace(SERIAL, executor="serial"),
    )  # fmt: skip

    assert whole.denoised is not None
    assert parts.denoised is not None
    assert np.isnan(parts.denoised.values[3, 1]).all()
    np.testing.assert_allclose(
        parts.denoised.values[:, 0], whole.denoised.values[:, 0], atol=1e-3
    )  # 1e-4 of the standard deviation, which is about 3
    assert np.isfinite(whole.quality.values[:, 0]).all()


def test_a_network_of_more_frames_than_there_are_is_refused(
    network: Any, movie: xr.DataArray
) -> None:
    long = deepcopy(network)
    long.layout = replace(network.layout, n_frames=61)

    with pytest.raises(DataError, match=r"has 40 frames, the network takes 61 at a time"):
        denoise(movie[:40], None, long, Denoise(method="support"), workspace=SERIAL)
    with pytest.raises(DataError, match=r"has 40 frames, the network takes 61 at a time"):
        compare(movie[:40], None, long, workspace=SERIAL)


def test_a_blind_spot_smaller_than_the_noise_is_told(network: Any) -> None:
    shared, alone = (movie_of(noise(40, 24, 24)) for noise in (correlated, white))

    with pytest.warns(UserWarning, match=r"needs a blind spot of . x . pixels.* has 1 x 1"):
        made = denoise(shared, None, network, Denoise(method="support"), workspace=SERIAL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calm = denoise(alone, None, network, Denoise(method="support"), workspace=SERIAL)

    assert made.summary["blind_spot"]["needed"][0] >= 3
    assert calm.summary["blind_spot"]["needed"] == [1, 1]
    assert calm.summary["blind_spot"]["network"] == [1, 1]
    json.dumps(made.summary, allow_nan=False)
    assert run(alone).summary["blind_spot"] is None


def test_a_network_that_does_not_see_the_frame_needs_no_blind_spot(network: Any) -> None:
    blind = deepcopy(network)
    blind.layout = replace(network.layout, channels=0)
    planes = xr.DataArray(np.full((2, 11, 11), np.nan), dims=("z", "lag_y", "lag_x"))
    looked = _denoise_planes.Looked(planes, planes, planes, planes, {})

    assert blind_spots(looked, blind) is None
    assert blind_spots(looked, network) is None  # nothing is known of the noise
    assert blind_spots(looked, None) is None


def test_the_ends_of_a_recording_can_be_mirrored(network: Any, movie: xr.DataArray) -> None:
    few = movie[:20]

    repeat, mirror = (
        denoise(few, None, network, Denoise(method="support", ends=ends), workspace=SERIAL).denoised
        for ends in ("repeat", "mirror")
    )

    assert repeat is not None
    assert mirror is not None
    same = (repeat.values == mirror.values).all(axis=(1, 2, 3))
    assert np.flatnonzero(~same).tolist() == [0, 1, 18, 19]  # the network takes five frames


def test_an_interrupted_network_goes_on_and_gives_the_same(
    network: Any, movie: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, params = movie[:30], Denoise(method="support")
    monkeypatch.setattr(workspace_module, "BLOCK_MB", 0.1)
    wanted = denoise(few, None, network, params, workspace=SERIAL)
    told: list[str] = []

    def stop(label: str, done: int, total: int) -> None:
        told.append(label)
        if label == "denoised" and 0 < done < total:
            raise KeyboardInterrupt

    shelf = Partial(tmp_path, "denoise", "key")
    with pytest.raises(KeyboardInterrupt):
        denoise(few, None, network, params, workspace=replace(SERIAL, shelf=shelf, progress=stop))

    shelf = Partial(tmp_path, "denoise", "key")
    assert shelf.resumed_blocks > 0
    made = denoise(few, None, network, params, workspace=replace(SERIAL, shelf=shelf))

    assert made.denoised is not None
    assert wanted.denoised is not None
    np.testing.assert_array_equal(made.denoised.values, wanted.denoised.values)
    np.testing.assert_array_equal(made.quality.values, wanted.quality.values)
    np.testing.assert_array_equal(made.residual_variance.values, wanted.residual_variance.values)


def test_a_network_is_compared_with_the_others(network: Any, movie: xr.DataArray) -> None:
    table = compare(movie[:30, :1], None, network, workspace=SERIAL)

    assert "support" in {row.method for row in table}


def test_a_recipe_holds_what_blocks_need() -> None:
    recipe = recipe_of(Denoise(smooth=True, bad_frames="blank", fit_frames=99), "cpu")

    assert recipe.smooth
    assert recipe.blank
    assert not recipe.as_factors
    assert recipe.limit == 99
    assert recipe.network is None


def test_the_last_planes_are_kept_at_hand_and_travel_light(movie: xr.DataArray) -> None:
    made = run(movie, **FACTORS)
    assert made.footprints is not None
    assert made.n_components is not None
    found = _denoise_planes.Found(made.footprints, made.n_components)
    bases = _denoise_planes.Bases(made.mean, made.sigma, found)

    first = bases(0)

    assert bases(0) is first
    for plane in (1, 0, 1):
        bases(plane)
    assert len(bases._kept) <= _denoise_planes.KEPT_PLANES
    state = bases.__getstate__()
    assert set(state) == {"mean", "sigma", "found"}
    other = _denoise_planes.Bases.__new__(_denoise_planes.Bases)
    other.__setstate__(state)
    np.testing.assert_array_equal(other(1).vectors, bases(1).vectors)


def test_time_courses_are_padded_and_unpadded_without_loss() -> None:
    ranks = np.array([2, 0, 3], np.int32)
    courses = np.arange(20, dtype=np.float32).reshape(4, 5)

    padded = _denoise_planes.padded_courses(courses, ranks, 3)

    assert padded.shape == (4, 3, 3)
    assert (padded[:, 1] == 0).all()
    assert padded[0].tolist() == [[0, 1, 0], [0, 0, 0], [2, 3, 4]]
    found = _denoise_planes.courses_without_padding(padded, ranks)
    np.testing.assert_array_equal(found, courses)


def test_a_plane_is_read_where_it_is_sliced(movie: xr.DataArray) -> None:
    frames = _denoise_planes.PlaneFrames(movie, 1)

    assert frames.shape == (T, SIDE, SIDE)
    np.testing.assert_array_equal(
        frames[3:5, 10:12, :7], movie.values[3:5, 1, 10:12, :7]
    )  # fmt: skip
    np.testing.assert_array_equal(frames[3:5], movie.values[3:5, 1])
