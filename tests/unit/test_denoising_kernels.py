"""The loops over blocks give what plain sums give; the simulated plane is as it is said."""

import numpy as np
import pytest

from benchmarks import _dim_scores as scores
from benchmarks import denoising as figures
from benchmarks._dim_plane import READ_NOISE, make_dim_plane
from clgkit.denoising import grid_of, kernels

N, ROWS, COLUMNS = 5, 4, 6


@pytest.fixture
def parts() -> dict[str, np.ndarray]:
    """Two blocks of two and one component that overlap, and one without any."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, ROWS, COLUMNS))
    first = vectors[:2].reshape(2, -1)
    vectors[:2] = np.linalg.qr(first.T)[0].T.reshape(2, ROWS, COLUMNS)
    vectors[2] /= np.linalg.norm(vectors[2])
    return {
        "vectors": vectors.astype(np.float32),
        "first": np.array([0, 2, 2, 3]),
        "starts": np.array([[0, 0], [0, 3], [2, 3]]),
        "scaled": rng.standard_normal((N, 6, 9)).astype(np.float32),
    }


def project(parts: dict[str, np.ndarray]) -> np.ndarray:
    courses = np.full((N, 3), 99, np.float32)
    kernels.project(
        parts["scaled"], parts["vectors"], parts["first"], parts["starts"], courses
    )  # fmt: skip
    return courses


def blocks_of(parts: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The pixels (N, rows, columns) under each component."""
    corners = [parts["starts"][0], parts["starts"][0], parts["starts"][2]]
    return [parts["scaled"][:, y : y + ROWS, x : x + COLUMNS] for y, x in corners]


def test_coefficients_are_products_of_pixels_and_vectors(parts: dict[str, np.ndarray]) -> None:
    courses = project(parts)

    for number, block in enumerate(blocks_of(parts)):
        wanted = np.einsum("tyx,yx->t", block.astype(np.float64), parts["vectors"][number])
        np.testing.assert_allclose(courses[:, number], wanted, atol=1e-5)


def test_frames_that_are_shown_in_part_get_the_best_fit(parts: dict[str, np.ndarray]) -> None:
    parts["scaled"][2, 1, :4] = np.nan
    block = blocks_of(parts)[0][2]
    known = np.isfinite(block)
    design = parts["vectors"][:2][:, known].T.astype(np.float64)

    courses = project(parts)

    ridge = kernels.RIDGE * np.eye(2)
    wanted = (1 + kernels.RIDGE) * np.linalg.solve(
        design.T @ design + ridge, design.T @ block[known]
    )
    np.testing.assert_allclose(courses[2, :2], wanted, atol=1e-5)


def test_a_full_frame_and_its_best_fit_agree(parts: dict[str, np.ndarray]) -> None:
    whole = project(parts)
    design = parts["vectors"][:2].reshape(2, -1).T.astype(np.float64)
    pixels = blocks_of(parts)[0].reshape(N, -1)

    fitted = np.linalg.lstsq(design, pixels.T, rcond=None)[0].T

    np.testing.assert_allclose(whole[:, :2], fitted, atol=1e-5)


def test_frames_that_show_nothing_get_nothing(parts: dict[str, np.ndarray]) -> None:
    parts["scaled"][1] = np.nan

    courses = project(parts)

    assert (courses[1] == 0).all()
    assert (courses[0] != 99).all()


def test_frames_are_the_sum_of_their_blocks(parts: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    courses = rng.standard_normal((N, 3)).astype(np.float32)
    frames = np.ones((N, 6, 9), np.float32)

    kernels.add_blocks(courses, parts["vectors"], parts["first"], parts["starts"], frames)

    wanted = np.ones((N, 6, 9))
    for number, (y, x) in enumerate([(0, 0), (0, 0), (2, 3)]):
        wanted[:, y : y + ROWS, x : x + COLUMNS] += (
            courses[:, number, None, None] * parts["vectors"][number]
        )
    np.testing.assert_allclose(frames, wanted, atol=1e-5)


def test_blocks_without_components_add_nothing() -> None:
    frames = np.ones((2, 20, 20), np.float32)
    grid = grid_of((20, 20))

    kernels.add_blocks(
        np.zeros((2, 0), np.float32), np.zeros((0, 16, 16), np.float32),
        np.zeros(len(grid.starts) + 1, np.int64), grid.starts, frames,
    )  # fmt: skip

    assert (frames == 1).all()


@pytest.mark.parametrize("photons", [0.5, 6.0])
def test_a_simulated_plane_has_as_many_photons_as_asked(photons: float) -> None:
    plane = make_dim_plane(photons=photons, side=64, n_frames=100, n_cells=10)

    assert plane.truth.mean() == pytest.approx(photons, rel=0.01)
    assert plane.noisy.mean() == pytest.approx(photons, rel=0.02)
    variance = np.mean((plane.noisy - plane.truth) ** 2)
    assert variance == pytest.approx(photons + READ_NOISE**2, rel=0.02)
    assert plane.masks.shape == (10, 64, 64)
    assert plane.truth.min() >= 0


def test_cells_do_not_overlap_and_are_alive() -> None:
    plane = make_dim_plane(photons=6, side=64, n_frames=200, n_cells=10)

    assert plane.masks.sum(axis=0).max() == 1
    traces = np.stack([plane.truth[:, mask].mean(axis=1) for mask in plane.masks])
    assert (traces.max(axis=1) > 1.3 * np.median(traces, axis=1)).all()


def test_cells_of_a_module_fire_together() -> None:
    plane = make_dim_plane(photons=6, side=96, n_frames=400, n_cells=20)
    traces = np.stack([plane.truth[:, mask].mean(axis=1) for mask in plane.masks])
    module = np.arange(20) % 5
    r = np.corrcoef(traces)[np.triu_indices(20, 1)]
    same = (module[:, None] == module)[np.triu_indices(20, 1)]

    assert r[same].mean() > r[~same].mean() + 0.2


def test_the_same_seed_gives_the_same_plane() -> None:
    one, two = (make_dim_plane(photons=2, side=32, n_frames=20, n_cells=3) for _ in range(2))
    other = make_dim_plane(photons=2, side=32, n_frames=20, n_cells=3, seed=1)

    np.testing.assert_array_equal(one.noisy, two.noisy)
    assert (one.noisy != other.noisy).any()


def test_scores_are_those_of_the_truth() -> None:
    plane = make_dim_plane(photons=6, side=48, n_frames=80, n_cells=6)

    raw = scores.score(plane.noisy, plane)
    nearly = scores.score(plane.truth + np.float32(1e-3), plane)

    assert raw.psnr_db < 40 < nearly.psnr_db
    assert nearly.roi_r == pytest.approx(1)
    assert nearly.peak == pytest.approx(1)
    assert nearly.bias == pytest.approx(0, abs=1e-6)
    assert nearly.rms == pytest.approx(0, abs=1e-6)
    assert raw.roi_r < 1
    assert raw.pixel_r < raw.roi_r < nearly.pixel_r == pytest.approx(1)


def test_a_pixel_that_never_changes_correlates_with_nothing() -> None:
    plane = make_dim_plane(photons=6, side=32, n_frames=40, n_cells=3)
    flat = plane.noisy.copy()
    flat[:, :16] = 1

    found = scores._correlations(flat, plane.truth)

    assert (found[:16] == 0).all()
    np.testing.assert_allclose(found[16:], scores._correlations(plane.noisy, plane.truth)[16:])


def test_another_draw_is_other_noise_on_the_same_scene() -> None:
    one, other = (
        make_dim_plane(photons=6, side=32, n_frames=40, n_cells=3, draw=draw) for draw in (0, 1)
    )

    np.testing.assert_array_equal(one.truth, other.truth)
    assert np.corrcoef((one.noisy - one.truth).ravel(), (other.noisy - one.truth).ravel())[
        0, 1
    ] == pytest.approx(0, abs=0.02)  # 40,960 values: 1 / sqrt(n) is 0.005


@pytest.mark.parametrize(("photons", "wanted_db"), [(6, 26.1), (2, 21.0), (0.7, 15.7)])
def test_the_raw_plane_is_the_one_that_targets_were_set_on(
    photons: float, wanted_db: float
) -> None:
    plane = make_dim_plane(photons=photons)

    raw = scores.score(plane.noisy, plane)

    assert raw.psnr_db == pytest.approx(wanted_db, abs=0.15)  # given to a tenth
    if photons == 6:
        assert raw.pixel_r == pytest.approx(0.333, abs=0.005)
        assert raw.roi_r == pytest.approx(0.980, abs=0.002)
        assert raw.rms == pytest.approx(0.018, abs=0.0015)  # a draw scatters by 0.0005


def test_the_table_has_a_line_for_every_method_at_every_light() -> None:
    lines = list(scores.rows("toy"))

    assert len(lines) == 1 + len(scores.LIGHT) * len(scores.METHODS)
    assert {line.count("|") for line in lines[1:]} == {9}
    assert lines[1].startswith("| 6 | raw |")


def test_a_recording_is_judged_beside_the_gaussian_and_the_mean_image() -> None:
    beside = {name: getattr(figures, name)("toy") for name in ("figure_allen", "figure_allen_mean")}

    ours = {figure.ours for figure in beside.values()}
    assert len(ours) == 1
    assert [figure.peer for figure in beside.values()][1] == "mean image"
    assert all(figure.met for figure in beside.values())


def test_a_recording_that_is_not_at_hand_is_a_row_that_is_not_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLGKIT_RECORDINGS", "nowhere")

    for figure in (figures.figure_allen, figures.figure_allen_mean):
        row = figure("full").row()

        assert row["ours"] is None
        assert row["met"] is False
    figures._errors.cache_clear()
