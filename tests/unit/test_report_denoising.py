"""The denoising's part of the report: a frame, traces, eigenvalues, four numbers."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit.report import denoising as module
from clgkit.report.denoising import (
    LINES,
    denoising,
    numbers,
    pictures,
    residual_map,
    spectrum,
    traces,
)
from clgkit.report.markup import DASH, MINUS
from tests.unit.report_known import Caught, Known, array, cells

N, PLANES, SIDE = 30, 2, 40


def movies() -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(0)
    clean = np.full((N, PLANES, SIDE, SIDE), 100.0)
    clean[:, 1, 12:20, 20:28] += 50 * (np.arange(N) % 10 == 0)[:, None, None]
    where = {"time": np.arange(N) / 2, "z": [0, 5], "y": np.arange(SIDE), "x": np.arange(SIDE)}
    dims = ("time", "z", "y", "x")
    return {
        "correct_motion.corrected": array(clean + rng.normal(0, 2, clean.shape), *dims, **where),
        "denoise.denoised": array(clean, *dims, **where),
    }


def residual() -> xr.DataArray:
    """An even residual; a cell of plane 1 is signal that was lost, its border is not known."""
    made = np.ones((PLANES, SIDE, SIDE), np.float32)
    made[1, 12:20, 20:28] = 9
    made[:, :2] = np.nan
    return array(made, "z", "y", "x", y=np.arange(SIDE), x=np.arange(SIDE))


def known(summary: dict[str, Any] | None = None, **changes: Any) -> Known:
    ranks = np.zeros((PLANES, 4, 4), np.int32)
    ranks[1, 1, 2] = 3
    ranks[1, 2, 2] = 1
    eigenvalues = np.geomspace(2, 0.5, 40) * np.ones((PLANES, 4, 4, 1))
    blocks = ("z", "block_y", "block_x")
    arrays = {
        **movies(),
        "denoise.sigma": array(np.full((PLANES, SIDE, SIDE), 2.0), "z", "y", "x"),
        "denoise.residual_variance": residual(),
        "denoise.n_components": array(ranks, *blocks),
        "denoise.eigenvalues": array(eigenvalues, *blocks, "order"),
    }
    found = {name: value for name, value in (arrays | changes).items() if value is not None}
    return Known(found, {"denoise.summary": summary_of() if summary is None else summary})


def summary_of() -> dict[str, Any]:
    first = {
        "plane": 0, "heldout_excess": 0.0312, "correlation_bias": -0.004, "correlation_rms": 0.016,
        "crossing": 0.125, "residual_with_result": 0.01, "peak": 0.97,
    }  # fmt: skip
    second = dict.fromkeys(first) | {"plane": 1}
    return {"method": "lowrank", "planes": [first, second]}


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    monkeypatch.setattr(module, "svg", made.svg)
    return made


def test_a_run_without_denoising_says_nothing() -> None:
    assert denoising(Known()) == ""


def test_all_parts_are_there(caught: Caught) -> None:
    page = denoising(known())

    assert set(caught.figures) == {"denoised", "eigenvalues"}
    assert page.count("<figure") == 5
    assert "Method lowrank" in page
    assert all(alt for alt in caught.alts.values())


def test_one_frame_is_shown_before_and_after_with_what_was_removed() -> None:
    page = pictures(known())

    assert "Frame 15 before denoising" in page
    assert "Frame 15 denoised" in page
    assert "What was removed from frame 15" in page
    assert "of plane 1" in page
    assert page.count("data:image/png") == 4


def test_the_residual_is_shown_in_units_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float, float]] = []
    original = module.sampling.as_grey

    def watched(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
        seen.append((float(np.std(pixels)), low, high))
        return original(pixels, low, high)

    monkeypatch.setattr(module.sampling, "as_grey", watched)

    pictures(known())

    spread, low, high = seen[2]
    assert (low, high) == (-4, 4)
    assert spread == pytest.approx(1, abs=0.1)


def test_pixels_without_noise_are_grey() -> None:
    sigma = array(np.zeros((PLANES, SIDE, SIDE)), "z", "y", "x")

    assert "What was removed" in pictures(known(**{"denoise.sigma": sigma}))
    assert "What was removed" in pictures(known(**{"denoise.sigma": None}))


def test_the_residual_of_the_whole_plane_shows_cells_that_were_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(module, "png", lambda grey: seen.append(grey) or "data:,")

    page = residual_map(known())

    (grey,) = seen
    assert grey.shape == (SIDE, SIDE)
    assert (grey[12:20, 20:28] == 255).all()
    assert (grey[:2] == 0).all()
    assert np.median(grey) == pytest.approx(127, abs=3)  # 64 steps of grey
    assert "from 0.5 (black) to 1.5 (white)" in page
    assert f"{64 / (SIDE * SIDE - 2 * SIDE):.2%} of the pixels exceed the scale" in page


def test_a_run_without_the_map_leaves_it_out_and_an_unknown_plane_has_a_dash() -> None:
    nothing = array(np.full((PLANES, 8, 8), np.nan), "z", "y", "x")

    assert residual_map(known(**{"denoise.residual_variance": None})) == ""
    assert f"{DASH} of the pixels" in residual_map(known(**{"denoise.residual_variance": nothing}))


def test_factors_leave_a_sentence_in_place_of_pictures(caught: Caught) -> None:
    page = denoising(known(**{"denoise.denoised": None}))

    assert "kept as factors" in page
    assert "What was removed from all frames of plane 1" in page
    assert set(caught.figures) == {"eigenvalues"}


def test_a_movie_of_another_size_is_not_compared() -> None:
    other = movies()["correct_motion.corrected"][:10]

    assert "kept as factors" in pictures(known(**{"correct_motion.corrected": other}))
    assert traces(known(**{"correct_motion.corrected": other})) == ""


def test_traces_are_those_of_the_liveliest_blocks(caught: Caught) -> None:
    traces(known())

    panels = caught.figures["denoised"].axes
    assert len(panels) == 3
    assert panels[0].get_ylabel() == "row 12, col. 20"
    raw, clean = (np.asarray(line.get_ydata()) for line in panels[0].lines)
    assert clean.max() == pytest.approx(150)
    assert clean.min() == pytest.approx(100)
    assert np.std(raw - clean) == pytest.approx(2 / 8, rel=0.5)  # 64 pixels, 30 frames
    np.testing.assert_allclose(panels[0].lines[0].get_xdata(), np.arange(N) / 2)


def test_without_components_traces_are_those_where_most_happens(caught: Caught) -> None:
    traces(known(**{"denoise.n_components": None}))

    panels = caught.figures["denoised"].axes
    assert len(panels) == 3
    places = {panel.get_ylabel() for panel in panels}
    # The cell of rows 12 to 19 and columns 20 to 27 lies in four squares of the grid.
    assert places < {f"row {y}, col. {x}" for y in (8, 16) for x in (16, 24)}


@pytest.mark.parametrize("shape", [(5, 3), (20, 8)])
def test_a_small_plane_has_the_traces_it_has_squares_for(
    shape: tuple[int, int], caught: Caught
) -> None:
    parts = {name: movie[:, :, : shape[0], : shape[1]] for name, movie in movies().items()}

    traces(known(**parts, **{"denoise.n_components": None}))

    n_squares = max(1, shape[0] // 8) * max(1, shape[1] // 8)
    assert len(caught.figures["denoised"].axes) == n_squares


def test_frames_that_show_nothing_leave_a_gap(caught: Caught) -> None:
    holes = movies()["denoise.denoised"].copy()
    holes[3] = np.nan

    traces(known(**{"denoise.denoised": holes}))

    clean = np.asarray(caught.figures["denoised"].axes[0].lines[1].get_ydata())
    assert np.flatnonzero(np.isnan(clean)).tolist() == [3]


def test_eigenvalues_are_drawn_with_the_edge_and_the_ranks(caught: Caught) -> None:
    page = spectrum(known())

    left, right = caught.figures["eigenvalues"].axes
    middle = np.asarray(left.lines[0].get_ydata())
    assert len(middle) == 12
    assert middle[0] == pytest.approx(2)
    assert np.asarray(left.lines[1].get_ydata()).tolist() == [1, 1]
    assert left.get_yscale() == "log"
    assert [bar.get_height() for bar in right.patches] == [14, 1, 0, 1]
    assert "all 16 blocks of plane 1" in page
    assert "14 blocks have none" in page


def test_a_plane_without_eigenvalues_is_drawn_on_a_plain_scale(caught: Caught) -> None:
    nothing = array(np.zeros((PLANES, 4, 4, 40)), "z", "block_y", "block_x", "order")

    spectrum(known(**{"denoise.eigenvalues": nothing}))

    assert caught.figures["eigenvalues"].axes[0].get_yscale() == "linear"


def test_other_methods_have_no_eigenvalues(caught: Caught) -> None:
    page = denoising(known(**{"denoise.eigenvalues": None, "denoise.n_components": None}))

    assert "eigenvalues" not in caught.figures
    assert "Method lowrank" in page


def test_numbers_stand_in_a_table_with_a_dash_for_what_is_not_known() -> None:
    page = numbers(summary_of())

    assert cells(page) == [
        ["0", "0.0312", f"{MINUS}0.004", "0.016", "0.125", "0.01", "0.97"],
        ["1", *[DASH] * 6],
    ]
    assert "at least 0.97" in page
    assert all(name in page for name in LINES.values())


def test_a_movie_that_was_too_short_says_so() -> None:
    assert "too short to be judged" in numbers({"method": "none", "planes": []})
