"""The report's chapter on nuclei: pictures, distributions, and the list of suspects."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.report import nuclei
from clgkit.stages._segment_found import MEASURES, Found, summary_of, table_of
from tests.unit.report_known import Caught, Known, cells


def scene(n: int = 4, *, with_confidence: bool = True, **columns: Any) -> Known:
    """Results with `n` nuclei of 27 voxels in a row; columns of the table may be given."""
    values = np.zeros((9, 12, 8 * max(n, 1) + 2), np.uint32)
    for k in range(n):
        values[3:6, 4:7, 8 * k + 2 : 8 * k + 5] = k + 1
    labels = data.labels(values, voxel_um=(1.0, 0.5, 0.5))
    found = Found(labels)
    table = table_of(found)
    if with_confidence:
        columns = {"probability": 0.9, "peak": 0.95} | columns
    for name, column in columns.items():
        table.values[:, MEASURES.index(name)] = column
    facts = {"method": "network", "diameter_um": [12.0, 6.0, 6.0], "is_estimated": False}
    base = xr.zeros_like(labels).astype(np.float32) + (values > 0)
    return Known(
        {
            "segment_nuclei.labels": labels,
            "segment_nuclei.nuclei": table,
            "normalize_contrast.normalized": base,
        },
        {"segment_nuclei.summary": facts | summary_of(found, table)},
    )


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    monkeypatch.setattr(nuclei, "svg", made.svg)
    return made


def test_all_parts_are_shown(caught: Caught) -> None:
    page = nuclei.nuclei(scene())

    assert set(caught.figures) == {"nuclei_sheet", "nuclei_sizes"}
    assert page.count("<figure") == 4
    assert "4 nuclei, " in page
    assert "for nuclei of 6 µm (12 µm along z), a diameter that was given" in page
    assert "No nucleus is suspect" in page


@pytest.mark.usefixtures("caught")
def test_an_estimated_diameter_is_said_to_be_one() -> None:
    results = scene()
    results.plain["segment_nuclei.summary"]["is_estimated"] = True

    assert "a diameter that was estimated" in nuclei.nuclei(results)


def test_labels_without_a_table_are_shown_without_numbers(caught: Caught) -> None:
    results = scene()
    del results.arrays["segment_nuclei.nuclei"]

    page = nuclei.nuclei(results)

    assert set(caught.figures) == {"nuclei_sheet"}
    assert page.count("<figure") == 3


def test_a_stack_without_nuclei_has_pictures_only(caught: Caught) -> None:
    page = nuclei.nuclei(scene(0))

    assert set(caught.figures) == {"nuclei_sheet"}
    assert "0 nuclei" in page


def test_the_sheet_shows_four_slices_and_four_rows(caught: Caught) -> None:
    nuclei.nuclei(scene())

    titles = [axes.get_title() for axes in caught.figures["nuclei_sheet"].axes]
    assert titles == [
        "slice 1", "slice 3", "slice 5", "slice 7",
        "row 1 (xz)", "row 4 (xz)", "row 7 (xz)", "row 10 (xz)",
    ]  # fmt: skip
    side = caught.figures["nuclei_sheet"].axes[4].images[0].get_extent()
    assert (side[1] - side[0]) / abs(side[3] - side[2]) == pytest.approx(34 * 0.5 / 9)


def test_suspects_have_another_colour() -> None:
    labels = np.zeros((8, 16), np.uint32)
    labels[2:6, 2:6], labels[2:6, 10:14] = 1, 2

    picture = nuclei.painted(np.zeros((8, 16)), labels, np.array([2]))

    left, right = picture[:, :24], picture[:, 24:]
    colours = [np.unique(half.reshape(-1, 3), axis=0).tolist() for half in (left, right)]
    assert list(nuclei.OUTLINE) in colours[0]
    assert list(nuclei.SUSPECT) not in colours[0]
    assert list(nuclei.SUSPECT) in colours[1]
    assert list(nuclei.OUTLINE) not in colours[1]


def test_distributions_are_of_what_the_method_knows(caught: Caught) -> None:
    nuclei.nuclei(scene())
    known = [axes.get_title() for axes in caught.figures["nuclei_sizes"].axes]
    page = nuclei.nuclei(scene(with_confidence=False))
    unknown = [axes.get_title() for axes in caught.figures["nuclei_sizes"].axes]

    assert known == ["Volume", "Density", "Probability", "Depth of the middle"]
    assert unknown == ["Volume", "Density"]
    assert "Confidence is the network" not in page


def test_the_density_counts_every_nucleus_once(caught: Caught) -> None:
    nuclei.nuclei(scene())

    panel = caught.figures["nuclei_sizes"].axes[1]
    heights, edges = panel.patches[0].get_data()[:2]  # type: ignore[attr-defined]
    area = 12 * 0.5 * 34 * 0.5
    assert float((heights * np.diff(edges)).sum()) * area / 1e6 == pytest.approx(4)


@pytest.mark.usefixtures("caught")
def test_suspects_are_counted_and_listed_the_worst_first() -> None:
    results = scene(probability=[0.9, 0.7, 0.5, 0.9], unsure=[0, 1, 1, 0], on_border=[0, 0, 1, 0])
    results.plain["segment_nuclei.summary"]["flagged"] = {
        "on_border": 1, "small": 0, "large": 0, "unsure": 2,
    }  # fmt: skip

    page = nuclei.nuclei(results)

    assert "2 suspect nuclei: 0 too small, 0 too large, 2 low confidence. 1 nucleus touches" in page
    rows = cells(page)
    assert [row[0].rpartition(">")[2] for row in rows] == ["3", "2"]
    assert rows[0][-1].endswith("low confidence, on the border")


@pytest.mark.usefixtures("caught")
def test_no_more_than_the_worst_twenty_are_listed() -> None:
    page = nuclei.nuclei(scene(30, unsure=1, probability=np.linspace(0.2, 0.7, 30)))

    assert len(cells(page)) == 20
    assert "The worst 20:" in page
    assert "<details>" in page  # closed: more than one reads at a glance


def test_a_size_far_from_the_median_is_bad_in_both_directions() -> None:
    known = {
        "volume_um3": np.array([100.0, 100.0, 10.0, 1000.0]),
        "probability": np.array([0.9, 0.2, np.nan, np.nan]),
        "peak": np.array([0.9, 0.9, np.nan, np.nan]),
    }

    bad = nuclei.badness(known)

    assert bad[0] < bad[1] < bad[2]
    assert bad[2] == pytest.approx(bad[3])
