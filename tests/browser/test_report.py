"""The report opens in a browser, answers the reader, and raises no error."""

import re
from pathlib import Path

import pytest

from clgkit import report
from clgkit.stages import STAGES
from tests.browser.conftest import Open
from tests.unit.report_scene import Scene, write_run

EVIL = "<img src=x onerror=\"console.error('hacked')\">"

# Does what a reader does, and writes what happened into the page.
READER = """
<script>
const note = (key, value) => { document.body.dataset[key] = String(value); };
const canvas = document.querySelector("#trace-canvas");
const blank = document.createElement("canvas");
blank.width = canvas.width;
blank.height = canvas.height;
note("neurons", document.querySelectorAll("#trace-choice option").length);
note("drawn", canvas.toDataURL() !== blank.toDataURL());
const left = canvas.getBoundingClientRect().left;
canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: left + 300 }));
note("value", document.querySelector("#trace-value").textContent);
const before = canvas.toDataURL();
document.querySelector("[data-step='1']").click();
note("chosen", document.querySelector("#trace-choice").value);
note("changed", canvas.toDataURL() !== before);
const range = document.querySelector(".compare input");
range.value = 20;
range.dispatchEvent(new Event("input", { bubbles: true }));
note("line", range.closest(".stack").style.getPropertyValue("--at"));
const box = document.querySelector("[data-toggle]");
box.click();
note("outlines", box.closest("figure").querySelector(".rims").hidden);
const zooms = document.querySelectorAll("figure .zoom");
note("zooms", zooms.length);
let opened = 0;
zooms.forEach((zoom) => {
  zoom.click();
  opened += document.querySelector("#large").open && document.querySelector(".stage *") ? 1 : 0;
  document.querySelector("#large .close").click();
});
note("opened", opened);
note("wide", document.documentElement.scrollWidth <= window.innerWidth);
</script>
"""


def write(path: Path, page: str, *, script: str = "") -> Path:
    path.write_text(page.replace("</body>", script + "</body>"), encoding="utf-8")
    return path


def test_a_reader_finds_everything_working(tmp_path: Path, browser: Open) -> None:
    page = report.build(write_run(tmp_path / "fish1"))

    seen = browser(write(tmp_path / "page.html", page, script=READER))

    assert seen.console == []
    figures = page.count('<svg class="plot"') + page.count('class="stack"')
    found = dict(part.split('="') for part in _body(seen.dom).split('" '))
    assert re.fullmatch(r"\d+\.\d s +dF/F .?\d\.\d+ +denoised .?\d\.\d+", found.pop("data-value"))
    assert found == {
        "data-neurons": "12",
        "data-drawn": "true",
        "data-chosen": "1",
        "data-changed": "true",
        "data-line": "20%",
        "data-outlines": "true",
        "data-zooms": str(figures),
        "data-opened": str(figures),
        "data-wide": "true",
    }


def _body(dom: str) -> str:
    return dom.partition("<body ")[2].partition('">')[0]


@pytest.mark.parametrize(
    "scene",
    [
        Scene(n_neurons=0, n_edges=0),
        Scene(n_neurons=1, n_planes=1, n_frames=1, n_edges=0),
        Scene(without=("compute_dff", "build_network")),
    ],
    ids=["no neuron", "one of all", "stages missing"],
)
def test_an_empty_report_raises_no_error(scene: Scene, tmp_path: Path, browser: Open) -> None:
    page = report.build(write_run(tmp_path / "fish1", scene))

    assert browser(write(tmp_path / "page.html", page)).console == []


def test_what_stands_in_files_is_not_run(tmp_path: Path, browser: Open) -> None:
    name = EVIL.replace("/", "")
    run = write_run(tmp_path / name, Scene(warnings=(EVIL,), failed={"0": EVIL}))

    assert browser(write(tmp_path / "page.html", report.build(run))).console == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("<script>noSuchFunction();</script>", "noSuchFunction is not defined"),
        ("<script>setTimeout(() => { null.x; }, 10);</script>", "Cannot read properties of null"),
        ("<script>Promise.reject(new Error('lost'));</script>", "lost"),
        ("<script>console.error('oh no');</script>", "oh no"),
        (EVIL, "hacked"),
        ('<img src="https://example.org/a.png">', "Content Security Policy"),
        ("<script>fetch('https://example.org');</script>", "Content Security Policy"),
    ],
)
def test_an_error_would_be_seen(
    script: str, message: str, page: str, tmp_path: Path, browser: Open
) -> None:
    seen = browser(write(tmp_path / "page.html", page, script=script))

    assert message in " ".join(seen.console)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.build(write_run(tmp_path_factory.mktemp("small"), Scene(without=tuple(STAGES))))
