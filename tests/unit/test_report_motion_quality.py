"""The chapter on motion says what was measured, and what the numbers mean."""

from typing import Any

import numpy as np
import pytest

from clgkit.report import motion, motion_quality
from clgkit.report.markup import DASH
from tests.unit.report_known import Caught, Known, array

NAN = np.nan


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    for module in (motion, motion_quality):
        monkeypatch.setattr(module, "svg", made.svg)
    return made


def plane(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "plane": number, "n_bad_pixels": 3, "n_bad_frames": 1, "n_outliers": 2, "r_before": 0.612,
        "r_after": 0.845, "crispness_before": 900.0, "crispness_after": 1234.0,
        "residual_px": 0.041, "residual_noise_px": 0.06, "heldout_before": 0.5,
        "heldout_after": 0.71, "gain": 20.0, "offset": 193.0, "heldout_skipped": None,
    } | changes  # fmt: skip


def corrected(*planes: dict[str, Any], **more: Any) -> Known:
    summary = {
        "line_offset_px": 0.0, "line_offset_spread_px": None, "n_unsure": 0, "n_at_limit": 0,
        "template": "fixed", "planes": list(planes),
    }  # fmt: skip
    changes = more.pop("summary", {})
    return Known(values={"correct_motion.summary": summary | changes}, **more)


def cells(text: str) -> list[list[str]]:
    rows = text.partition("<tbody>")[2].split("<tr>")[1:]
    return [
        [cell.partition(">")[2].partition("</td>")[0] for cell in row.split("<td")[1:]]
        for row in rows
    ]


def test_every_plane_has_a_row_of_numbers_and_each_number_a_meaning() -> None:
    text = motion_quality.numbers(corrected(plane(0), plane(1, n_outliers=7)))

    assert cells(text)[0] == [
        "0", "0.61 → 0.84", "900 → 1,234", "0.041 (0.06)", "0.5 → 0.71", "2", "1", "3", "",
    ]  # fmt: skip
    assert cells(text)[1][5] == "7"
    for name in motion_quality.MEANINGS:
        assert f"<li>{name}: " in text
    assert "never judges a correction alone" in text
    assert "A photon counts 20 units above 193" in text


def test_what_was_not_measured_is_a_dash_with_its_reason() -> None:
    missing = dict.fromkeys(
        ("heldout_before", "heldout_after", "gain", "offset", "residual_px", "residual_noise_px")
    )
    smooth = plane(1, **missing, heldout_skipped="it was <smoothed>")

    text = motion_quality.numbers(corrected(plane(0), smooth))
    alone = motion_quality.numbers(corrected(smooth))

    assert cells(text)[1][3:5] == [DASH, DASH]
    assert "No held-out score of planes 1: it was &lt;smoothed&gt;." in text
    assert "No held-out score of any plane: " in alone
    assert "A photon counts" not in alone


def test_a_lost_plane_is_left_out_and_needs_no_reason() -> None:
    nothing = {key: None for key in plane(0) if key.startswith(("r_", "heldout", "residual"))}
    lost = plane(1, **nothing | {"heldout_skipped": "too few"})

    text = motion_quality.numbers(corrected(plane(0), lost, lost={1: "blank"}))

    assert cells(text)[1][-1] == "left out"
    assert "too few" not in text


def test_many_planes_are_folded() -> None:
    text = motion_quality.numbers(corrected(*(plane(number) for number in range(17))))

    assert "<summary>Quality of all 17 planes</summary>" in text


def test_an_older_result_without_numbers_leaves_a_sentence(caught: Caught) -> None:
    older = Known(values={"correct_motion.summary": {"line_offset_px": 0.0}})

    assert "was not measured" in motion_quality.numbers(older)
    assert "was not measured" in motion_quality.flow(older)
    assert motion_quality.scanning(older) == ""
    assert not caught.figures


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({}, {}, "No offset between rows scanned there and back was found for sure."),
        ({}, {"correct_motion.line_offset": "none"}, "was not looked for"),
        (
            {"line_offset_px": 0.43, "line_offset_spread_px": 0.02},
            {},
            "Odd rows lay 0.43 px to the right of even ones (spread 0.02 px) and were put back.",
        ),
        ({"line_offset_px": -0.4, "line_offset_spread_px": 0.02}, {}, "0.4 px to the left"),
        ({"template": "reference"}, {}, "the images that were given as reference"),
        ({"template": "normcorre"}, {}, "renewed after every bin"),
        (
            {"n_at_limit": 12},
            {"correct_motion.max_shift_px": 15},
            "12 frames lay at the limit of 15 px: raise max_shift_px.",
        ),
    ],
)
def test_the_scan_and_its_pixels_are_told(
    changes: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    results = corrected(plane(0), plane(1), summary=changes, settings=settings)

    text = motion_quality.scanning(results)

    assert said in text
    assert "6 bad pixels in all planes." in text


def test_the_motion_that_is_left_is_drawn_plane_by_plane_on_one_scale(caught: Caught) -> None:
    flow = np.full((15, 2, 3), 0.1)
    flow[3] = NAN
    flow[14, 1, 2] = 0.9

    text = motion_quality.flow(Known({"correct_motion.residual_flow": array(flow, "z", "y", "x")}))

    drawn = [axes for axes in caught.figures["flow"].axes if axes.get_title()]
    assert len(drawn) == motion_quality.MOST_MAPS
    assert "plane 3" not in {axes.get_title() for axes in drawn}
    assert {axes.images[0].get_clim() for axes in drawn} == {(0.0, 0.9)}
    assert "the largest is 0.9 px" in text


def test_little_motion_looks_little(caught: Caught) -> None:
    flow = array(np.full((1, 1, 1), 0.01), "z", "y", "x")

    motion_quality.flow(Known({"correct_motion.residual_flow": flow}))

    assert caught.figures["flow"].axes[0].images[0].get_clim() == (0.0, 0.2)


def test_outliers_are_ticked_ringed_and_explained(caught: Caught) -> None:
    outliers = np.zeros((30, 2), np.uint8)
    outliers[4, 0], outliers[[9, 11], 1], outliers[20] = 1, 2, 3
    results = Known({
        "correct_motion.shifts": array(np.zeros((30, 2, 2)), "time", "z", "axis"),
        "correct_motion.agreement": array(np.full((30, 2), 0.9), "time", "z"),
        "correct_motion.outliers": array(outliers, "time", "z"),
    })  # fmt: skip

    shifts, agreement = motion.shifts(results), motion.agreement(results)

    assert "Ticks below: 4 outlier frames." in shifts
    ticks = caught.figures["shifts"].axes[0].collections[0].get_offsets()
    np.testing.assert_array_equal(np.asarray(ticks)[:, 0], [4, 9, 11, 20])
    rings = caught.figures["agreement"].axes[0].collections[0].get_offsets()
    assert len(np.asarray(rings)) == 5
    assert [row[1:] for row in cells(agreement)] == [["1", "4"], ["2", "9, 11"], ["1", "20"]]
    assert "the largest that was looked for" in agreement
