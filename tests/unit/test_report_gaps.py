"""Chapters of runs that lack pieces, have one plane, lost all planes, or hold NaN everywhere."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import report
from clgkit.report import motion, motion_quality, overview, planes
from clgkit.report.markup import Markup
from clgkit.report.second_channel import second_channel
from tests.unit.report_known import Caught, Known, array, cells
from tests.unit.report_scene import Scene, results, write_run

CHAPTERS: dict[str, Callable[..., Markup]] = {
    "shifts": motion.shifts,
    "agreement": motion.agreement,
    "scanning": motion_quality.scanning,
    "numbers": motion_quality.numbers,
    "flow": motion_quality.flow,
    "coverage": planes.coverage,
    "overlay": planes.overlay,
    "drift": planes.drift,
    "control": planes.control,
    "second channel": second_channel,
    "headline": overview.headline,
    "cards": overview.key_figures,
    "warnings": overview.warnings,
    "strip": overview.stage_strip,
}
EVERY_CHAPTER = pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=CHAPTERS)
SPACE = {"time", "z", "y", "x"}
VOID = {"img", "input", "br", "meta", "link", "hr"}


class Asked(Known):
    """Given results without raw files, which note what was asked for."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.asked: set[str] = set()

    def array(self, source: str) -> xr.DataArray | None:
        self.asked.add(source)
        return super().array(source)

    def raw(self, name: str) -> xr.DataArray | None:
        assert name in {"structure", "function"}
        return None


class Nested(HTMLParser):
    """Reads a piece of a page; fails if a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += re.findall(r"\w+", data)


def read(text: str) -> list[str]:
    """Return the words that a reader sees."""
    parser = Nested()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser.words


SHORT = Scene(n_frames=12)


def known(scene: Scene = SHORT, **more: Any) -> Asked:
    arrays: dict[str, xr.DataArray] = {}
    values: dict[str, Any] = {}
    for stage, made in results(scene, np.random.default_rng(0)).items():
        for name, value in made._asdict().items():
            if isinstance(value, xr.DataArray):
                arrays[f"{stage}.{name}"] = value.copy()
            elif isinstance(value, dict):
                values[f"{stage}.{name}"] = value
    return Asked(arrays, values, **more)


def without_numbers() -> Asked:
    """Nothing could be measured."""
    made = known()
    for found in made.arrays.values():
        parts = [found, *(c for name, c in found.coords.items() if name not in SPACE)]
        for part in parts:
            if part.dtype.kind == "f":
                part.values[...] = np.nan
    summary = made.plain["correct_motion.summary"]
    kept = {"plane", "n_bad_pixels", "n_bad_frames", "n_outliers"}
    for plane in summary["planes"]:
        plane.update(dict.fromkeys(plane.keys() - kept), heldout_skipped="too few frames")
    return made


@EVERY_CHAPTER
def test_nothing_measured_is_told_in_words_and_dashes(chapter: Callable[..., Markup]) -> None:
    words = read(chapter(without_numbers()))

    assert not {"nan", "NaN", "inf", "None"} & set(words)


@EVERY_CHAPTER
@pytest.mark.parametrize(
    "scene",
    [
        Scene(n_planes=1, n_frames=12),
        Scene(n_frames=1),
        Scene(n_planes=1, n_frames=1, n_neurons=1),
        Scene(n_neurons=0, n_frames=3),
    ],
    ids=["one plane", "one frame", "one of all", "no neuron"],
)
def test_small_runs_have_every_chapter(chapter: Callable[..., Markup], scene: Scene) -> None:
    assert not {"nan", "None"} & set(read(chapter(known(scene))))


@EVERY_CHAPTER
def test_a_chapter_needs_no_piece_of_another(chapter: Callable[..., Markup]) -> None:
    whole = known()
    chapter(whole)
    for missing in sorted(whole.asked & whole.arrays.keys()):
        made = known()
        del made.arrays[missing]
        read(chapter(made))
    assert "nan" not in read(chapter(Asked()))


def lost_all() -> dict[int, str]:
    return dict.fromkeys(range(3), "it shows <nothing>")


@EVERY_CHAPTER
def test_a_run_that_lost_all_planes_still_has_its_chapters(chapter: Callable[..., Markup]) -> None:
    read(chapter(known(lost=lost_all())))


def test_lost_planes_have_no_line_and_their_reason_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caught = Caught()
    monkeypatch.setattr(motion, "svg", caught.svg)

    motion.shifts(known(lost=lost_all()))
    told = overview.warnings(known(lost=lost_all()))

    assert [len(axes.lines) for axes in caught.figures["shifts"].axes] == [0, 0]
    assert told.count("it shows &lt;nothing&gt;") == 3
    assert "3 planes could not be used" in told


def long_run(n_frames: int, **moments: float) -> Asked:
    """One plane that agrees by 0.9 in all frames but those that are given."""
    values = np.full((n_frames, 1), 0.9)
    for frame, value in moments.items():
        values[int(frame.removeprefix("at_"))] = value
    return Asked({"correct_motion.agreement": array(values, "time", "z")})


def test_a_short_bad_moment_of_a_long_recording_is_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Caught()
    monkeypatch.setattr(motion, "svg", caught.svg)

    motion.agreement(long_run(9000, at_4321=0.1, at_17=np.nan))

    shown = np.asarray(caught.figures["agreement"].axes[0].images[0].get_array(), np.float64)
    assert shown.shape == (1, 900)
    assert shown[0, 432] == 0.1  # ten frames to a column: the worst of them
    assert (np.delete(shown[0], 432) == 0.9).all()


def test_a_moment_without_any_agreement_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Caught()
    monkeypatch.setattr(motion, "svg", caught.svg)

    motion.agreement(long_run(1800, at_10=np.nan, at_11=np.nan))

    shown = caught.figures["agreement"].axes[0].images[0].get_array()
    assert np.flatnonzero(np.ma.getmaskarray(np.ma.asarray(shown))).tolist() == [5]


def test_all_frames_bad_are_counted_once() -> None:
    made = known()
    made.arrays["correct_motion.bad_frames"].values[...] = 2
    made.arrays["correct_motion.agreement"].values[...] = np.nan
    made.arrays["correct_motion.outliers"].values[...] = 0

    text = motion.agreement(made)
    (row,) = cells(text)

    assert "12 bad frames" in text
    assert row[1:] == ["12", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"]
    assert "12" in read(overview.key_figures(made))


def test_a_map_with_gaps_is_drawn_where_it_is_known() -> None:
    made = known()
    maps = made.arrays["align_planes.maps"]
    maps.values[:, :8] = np.nan
    maps.values[:, 8, 0, 0] = np.inf

    assert "<img" in planes.overlay(made)


def test_planes_without_any_slice_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Caught()
    monkeypatch.setattr(planes, "svg", caught.svg)
    made = known()
    made.arrays["align_planes.planes"].values[...] = -1

    text = planes.coverage(made)

    assert "3 planes without a slice." in text
    assert [row[1] for row in cells(text)] == ["none"] * 3
    assert not np.size(caught.figures["coverage"].axes[0].lines[0].get_xdata())


def test_the_page_of_an_unfinished_run_is_whole(tmp_path: Path) -> None:
    without = ("correct_motion", "align_planes")
    scene = Scene(n_planes=1, n_frames=8, n_neurons=2, nuclear=True, without=without)

    page = report.build(write_run(tmp_path / "run", scene))

    assert "Without a result: correct_motion, align_planes." in page
    assert page.count("<section") == page.count("</section>") > 5
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", shown)


def test_a_run_of_one_frame_and_one_plane_has_a_page(tmp_path: Path) -> None:
    scene = Scene(n_planes=1, n_frames=1, n_neurons=1, n_edges=0, nuclear=True)

    page = report.build(write_run(tmp_path / "run", scene))

    assert "Shift of every plane" in page


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (0.75, "Odd rows lay 0.75 px to the right of even ones (spread 0.1 px)"),
        (-0.75, "Odd rows lay 0.75 px to the left of even ones (spread 0.1 px)"),
        (0.0, "No offset between rows scanned there and back was found for sure."),
    ],
)
def test_the_offset_between_rows_has_a_side(offset: float, words: str) -> None:
    made = known()
    made.plain["correct_motion.summary"] |= {
        "line_offset_px": offset, "line_offset_spread_px": 0.1
    }  # fmt: skip

    assert words in motion_quality.scanning(made)


def test_an_overcount_that_is_not_known_is_a_dash() -> None:
    made = known(Scene(n_neurons=0, n_frames=3))

    text = overview.key_figures(made)

    assert "No neuron was found" in overview.headline(made)
    assert '<div class="value">\N{EN DASH}</div><div class="label">overcount' in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "\N{EN DASH}"), (0.04, "0.0 s"), (99.94, "99.9 s"), (100, "2 min"), (7200, "2.0 h")],
)
def test_times_are_for_people(seconds: float | None, shown: str) -> None:
    assert overview.duration(seconds) == shown


def test_a_truth_of_another_result_is_not_compared() -> None:
    made = known()
    counts = made.plain["merge_planes.summary"]

    same = overview.compared(made, {"n_neurons": counts["n_neurons"], "shift_rms_px": np.nan})
    other = overview.compared(made, {"n_neurons": counts["n_neurons"] + 1})

    assert "belongs to another result" in other
    assert cells(same) == [
        ["Error of the motion found, px (rms)", "\N{EN DASH}", "≤ 0.1",
         '<span class="verdict missed">missed</span>']
    ]  # fmt: skip
