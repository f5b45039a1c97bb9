"""The loops over blocks give what plain sums give; the simulated plane is as it is said."""

import numpy as np
import pytest

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

    raw = figures._score(plane.noisy, plane)
    nearly = figures._score(plane.truth + np.float32(1e-3), plane)

    assert raw.psnr_db < 40 < nearly.psnr_db
    assert nearly.roi_r == pytest.approx(1)
    assert nearly.peak == pytest.approx(1)
    assert nearly.bias == pytest.approx(0, abs=1e-6)
    assert nearly.rms == pytest.approx(0, abs=1e-6)
    assert raw.roi_r < 1


def test_a_recording_that_is_not_at_hand_is_a_row_that_is_not_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLGKIT_RECORDINGS", "nowhere")

    row = figures.figure_allen("full").row()

    assert row["ours"] is None
    assert row["met"] is False
