"""The page of benchmarks names every figure, and its tables come from the results."""

import json
from pathlib import Path

import pytest

from benchmarks import _docs_table
from benchmarks.harness import Figure, figures_of

PACKAGES = _docs_table.TABLE.findall(_docs_table.PAGE.read_text(encoding="utf-8"))


def section(package: str) -> str:
    page = _docs_table.PAGE.read_text(encoding="utf-8")
    found = [text for text in _docs_table.TABLE.finditer(page) if text["package"] == package]
    assert len(found) == 1
    return found[0][0]


def row(**values: object) -> dict[str, object]:
    facts = {"size": "full", "processor": "P", "cores": 2, "date": "2020-02-02T01:00:00+00:00"}
    return Figure("speed", "s", 2.0, target=3.0).row() | facts | values


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    figures = [("figure_speed", None), ("figure_beside", None)]
    monkeypatch.setattr(_docs_table, "RESULTS", tmp_path)
    monkeypatch.setattr(_docs_table, "figures_of", lambda _: iter(figures))
    return tmp_path / "toys.jsonl"


def test_preprocessing_and_registration_have_tables() -> None:
    assert {"registration", "alignment", "contrast", "deconvolution"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_names_every_figure(package: str) -> None:
    named = [line.split("`")[1] for line in section(package).splitlines() if line[:3] == "| `"]

    assert named == [name.removeprefix("figure_") for name, _ in figures_of(package)]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_tells_the_command_of_every_table(package: str) -> None:
    page = _docs_table.PAGE.read_text(encoding="utf-8")

    assert f"python -m benchmarks --only {package}`" in page


def test_a_table_is_made_of_the_results(results: Path) -> None:
    missed = row(peer="other 1.0", peer_value=1.0, ratio=0.5, target=1.0, met=False)
    results.write_text(f"{json.dumps(row())}\n{json.dumps(missed)}\n")

    made = _docs_table.renewed("a\n<!-- figures: toys -->\nold\n<!-- end -->\nb")

    assert made.startswith("a\n<!-- figures: toys -->\nP, 2 cores, 2020-02-02.\n")
    assert "| `speed` | speed | s | 2 | - | - | - | 3 | yes |" in made
    assert "| `beside` | speed | s | 2 | other 1.0 | 1 | 0.5 | 1 times | **no** |" in made
    assert made.endswith("<!-- end -->\nb")
    assert "old" not in made


def test_a_run_at_toy_size_leaves_the_page_alone(results: Path) -> None:
    page = "<!-- figures: toys -->\nold\n<!-- end -->"
    assert _docs_table.renewed(page) == page
    results.write_text(f"{json.dumps(row(size='toy'))}\n")

    assert _docs_table.renewed(page) == page


def test_results_of_other_figures_are_refused(results: Path) -> None:
    results.write_text(f"{json.dumps(row())}\n")

    with pytest.raises(ValueError, match="toys has 2 figures; run"):
        _docs_table.renewed("<!-- figures: toys -->\n<!-- end -->")


def test_the_page_is_written_in_place(results: Path, tmp_path: Path) -> None:
    results.write_text(f"{json.dumps(row())}\n" * 2)
    page = tmp_path / "page.md"
    page.write_text("<!-- figures: toys -->\n<!-- end -->\n")

    _docs_table.main(page)

    assert "`beside`" in page.read_text()
