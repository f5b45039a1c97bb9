"""Two channels are laid over one another, and a run with one channel says nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgkit import report
from clgkit.report import second_channel as module
from clgkit.report.second_channel import overlaid, second_channel
from tests.unit.report_known import Caught, Known, array
from tests.unit.report_scene import Scene, write_run

NAN = float("nan")


def known(**changes: Any) -> Known:
    rng = np.random.default_rng(0)
    arrays = {
        "apply_motion.template": array(rng.normal(size=(3, 40, 30)), "z", "y", "x"),
        "correct_motion.template": array(rng.normal(size=(3, 40, 30)), "z", "y", "x"),
        "apply_motion.agreement": array(
            [[0.5, NAN, 0.7], [NAN, NAN, NAN], [0.1, 0.2, 0.3]], "time", "z", time=[0, 0.5, 1]
        ),
    }
    return Known({name: found for name, found in (arrays | changes).items() if found is not None})


def test_a_run_without_a_second_channel_says_nothing() -> None:
    assert second_channel(known(**{"apply_motion.template": None})) == ""
    assert second_channel(Known()) == ""


def test_channels_of_different_size_leave_a_sentence() -> None:
    other = array(np.zeros((3, 20, 30)), "z", "y", "x")

    assert 'class="absent"' in second_channel(known(**{"correct_motion.template": other}))


def test_the_score_of_the_shifts_is_told_where_there_is_one() -> None:
    scores = array([[0.3, 0.5], [NAN, NAN], [0.2, 0.4]], "z", "measure")

    assert "was 0.25 before and is 0.45" in second_channel(
        known(**{"apply_motion.quality": scores})
    )
    none = array(np.full((3, 2), NAN), "z", "measure")
    assert "not estimated" not in second_channel(known(**{"apply_motion.quality": none}))
    assert "not estimated" not in second_channel(known())


def test_bright_in_both_is_white() -> None:
    calcium, nuclei = np.zeros((4, 6)), np.zeros((4, 6))
    calcium[1, 1] = calcium[2, 2] = nuclei[2, 2] = nuclei[3, 3] = 1
    calcium[0, 0] = NAN

    colours = overlaid(calcium, nuclei)

    assert colours.dtype == np.uint8
    assert colours[1, 1].tolist() == [0, 255, 0]
    assert colours[2, 2].tolist() == [255, 255, 255]
    assert colours[3, 3].tolist() == [255, 0, 255]
    assert colours[0, 0].tolist() == [0, 0, 0]


def test_the_lines_are_means_over_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Caught()
    monkeypatch.setattr(module, "svg", caught.svg)
    first = array(np.full((3, 3), 0.9), "time", "z")

    said = second_channel(known(**{"correct_motion.agreement": first}))

    picture, panel = caught.figures["second-channel"].axes
    nuclear, calcium = panel.get_lines()
    found = [np.asarray(line.get_xydata(), np.float64) for line in (nuclear, calcium)]
    np.testing.assert_allclose(found[0], [[0, 0.6], [0.5, NAN], [1, 0.2]])
    np.testing.assert_allclose(found[1], [[0, 0.9], [1, 0.9], [2, 0.9]])
    assert np.asarray(picture.images[0].get_array()).shape == (40, 30, 3)
    assert "the median of the nuclear channel is 0.3." in said


def test_one_frame_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Caught()
    monkeypatch.setattr(module, "svg", caught.svg)

    second_channel(known(**{"apply_motion.agreement": array([[0.5, NAN, 0.7]], "time", "z")}))

    (line,) = caught.figures["second-channel"].axes[1].get_lines()
    np.testing.assert_allclose(np.asarray(line.get_xydata()), [[0, 0.6]])


def test_the_page_of_a_run_with_two_channels_shows_them(tmp_path: Path) -> None:
    page = report.build(write_run(tmp_path, Scene(nuclear=True, n_neurons=1, n_frames=20)))

    assert page.count("calcium channel in green") == 1
    assert page.count('aria-label="Both channels, and their agreement"') == 1
    assert "[apply_motion]" in page
