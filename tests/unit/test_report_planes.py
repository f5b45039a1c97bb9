"""What the report tells of the planes: slices, tilt, tiles, drift, shifted control."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit.report import planes
from tests.unit.report_known import Caught, Known, array, cells

NAN = float("nan")
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    monkeypatch.setattr(planes, "svg", made.svg)
    return made


def aligned(chosen: list[int], confidence: list[float], **more: Any) -> Known:
    n = len(chosen)
    coords: dict[str, Any] = {
        "score": np.full(n, 0.5), "shift_y_px": np.full(n, -1.5), "shift_x_px": np.zeros(n),
        "chance": np.full(n, 0.12), "residual_px": np.full(n, 0.25),
        "found": np.array([1, 0, -1] * n)[:n], "tilt_y_slices": np.zeros(n),
        "tilt_x_slices": np.zeros(n), "confidence": confidence, "given": [0] + [1] * (n - 1),
    }  # fmt: skip
    coords |= more.pop("coords", {})
    table = array(chosen, "z", **coords)
    scores = array(np.ones((n, 9)), "z", "slice")
    return Known({"align_planes.planes": table, "align_planes.scores": scores}, **more)


def test_the_table_of_planes_tells_all_that_is_known(caught: Caught) -> None:
    results = aligned([3, -1, 8], [0.25, NAN, np.inf], lost={1: "blank"})
    results.arrays["extract_traces.rois"] = array(np.zeros((3, 1)), "roi", "time", plane=[0, 0, 2])

    text = planes.coverage(results)

    assert "1 plane without a slice." in text
    assert "squares those that a plane map gave" in text
    assert "askew" not in text
    offset = f"{MINUS}1.5, 0"
    assert cells(text) == [
        ["0", "3", "0.5", "0.12", "yes", "0.25", offset, "0.25", "found", "2", ""],
        ["1", "none", "0.5", "0.12", "no", DASH, offset, "0.25", "given", "0", "left out"],
        ["2", "8", "0.5", "0.12", "field too small to tell", "certain", offset, "0.25", "given",
         "1", ""],
    ]  # fmt: skip
    path, squares = (caught.figures["coverage"].axes[panel].lines for panel in (0, 1))
    assert path[0].get_xdata().tolist() == [0, 2]  # a plane without a slice is not drawn
    assert path[0].get_ydata().tolist() == [3, 8]
    assert squares[1].get_xdata().tolist() == [2]


def test_a_tilt_is_told_in_words(caught: Caught) -> None:
    tilt = {"tilt_y_slices": np.full(2, -2.0), "tilt_x_slices": np.full(2, 0.5)}
    text = planes.coverage(aligned([1, 2], [1, 1], coords=tilt))

    assert f"the last row is {MINUS}2 slices deeper than the first, the last column 0.5;" in text
    assert "coverage" in caught.figures


@pytest.mark.parametrize(("n", "is_folded"), [(16, False), (17, True)])
def test_a_long_table_of_planes_is_folded(caught: Caught, n: int, *, is_folded: bool) -> None:
    text = planes.coverage(aligned([1] * n, [1.0] * n))

    assert (f"Table of all {n} planes" in text) == is_folded
    assert len(cells(text)) == n
    assert "coverage" in caught.figures


def laid(chosen: int, depth: float) -> Known:
    """One plane of 60 pixels on a stack of three slices, twice as fine, each of one grey."""
    grid = np.indices((60, 60)).transpose(1, 2, 0)
    flat = 2 * (grid + 0.5) - 0.5 - grid
    offset = np.concatenate([np.full((60, 60, 1), depth), flat], axis=2)
    stack = np.broadcast_to(np.array([10.0, 20.0, 30.0])[:, None, None], (3, 120, 120))
    space = {"y": np.arange(60.0), "x": np.arange(60.0)}
    template = xr.DataArray(np.ones((1, 60, 60)), dims=("z", "y", "x"), coords=space)
    known = aligned([chosen], [1.0])
    known.arrays |= {
        "align_planes.maps": array(offset[np.newaxis], "z", "y", "x", "axis"),
        "correct_motion.template": template,
        "normalize_contrast.normalized": array(stack, "z", "y", "x"),
    }
    return known


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    original: Callable[..., Any] = planes._tiles

    def watched(first: np.ndarray, second: np.ndarray, alt: str) -> Any:
        seen.append((first, second))
        return original(first, second, alt)

    monkeypatch.setattr(planes, "_tiles", watched)
    monkeypatch.setattr(Known, "raw", lambda *_: None)
    return seen


def test_tiles_show_the_slice_before_and_the_section_after(
    tiles: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    text = planes.overlay(laid(1, 0.8))

    assert "Functional plane 0 and structural slice 1" in text
    (_, before), (_, after) = tiles
    assert (before == 20).all()
    assert (after == 30).all()  # 0.8 slices below slice 1 is nearest to slice 2


@pytest.mark.usefixtures("tiles")
def test_a_plane_without_a_slice_has_no_tiles() -> None:
    assert "Plane 0 has no slice" in planes.overlay(laid(-1, 0))
    assert "no plane to lay" in planes.overlay(aligned([1], [1.0]))


def test_drift_is_drawn_and_judged(caught: Caught) -> None:
    values = np.array([[0, 0], [0.1, 0.9]])
    found = xr.DataArray(
        values, dims=("bin", "z"),
        coords={"time": ("bin", [5.0, 15.0]), "exceeds": (("bin", "z"), values > 0.5)},
    )  # fmt: skip
    text = planes.drift(Known({"align_planes.z_drift": found}))

    assert "1 plane (1) went farther than half a slice" in text
    assert caught.figures["drift"].axes[0].lines[1].get_ydata().tolist() == [0, 0.9]
    still = found.assign_coords(exceeds=(("bin", "z"), np.zeros((2, 2))))
    assert "No plane went farther" in planes.drift(Known({"align_planes.z_drift": still}))
    assert "was not measured" in planes.drift(Known())


def test_planes_no_better_than_chance_are_red(caught: Caught) -> None:
    values = np.array([[0.95, 0.001], [0.52, 0.6], [NAN, NAN]])
    text = planes.control(Known({"extract_traces.control": array(values, "z", "measure")}))

    assert "1 plane no better than chance" in text
    sure, doubtful = caught.figures["control"].axes[0].lines[:2]
    assert sure.get_xdata().tolist() == [0]
    assert doubtful.get_xdata().tolist() == [1]
    assert "were not held" in planes.control(Known())
