"""The deconvolution's part of the report: pictures, beads, bright spots, invented spots."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.report import deconvolution, page
from clgkit.report.deconvolution import pictures, quality
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from tests.unit.deconvolution_scene import nuclei
from tests.unit.report_known import Caught, Known
from tests.unit.report_scene import Scene, write_run

SUMMARY: dict[str, Any] = {
    "gain_of_dim_spots": 0.42,
    "gain_of_bright_spots": 0.987,
    "n_spots": 1204,
    "bead_amplitude": [1.0, 0.5, 0.25, 0.1, 0.05],
    "bead_denoised": [0.67, 0.52, 0.3, 0.04, 0.0],
    "bead_deconvolved": [0.9, 0.7, 0.4, 0.05, 0.0],
    "dark_level": 66.0,
    "noise_sd": 12.5,
    "noise_spots_before": 3,
    "noise_spots_after": 1,
    "noise_spots_believed": 124,
    "noise_grain": [0.4158, 0.0533, 0.21],
}


class Seen(Known):
    """Given results with a raw stack."""

    stack: xr.DataArray | None = None

    def raw(self, name: str) -> xr.DataArray | None:
        assert name == "structure"
        return self.stack


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    made = Caught()
    monkeypatch.setattr(deconvolution, "svg", made.svg)
    return made


def volume(values: Any) -> xr.DataArray:
    return data.volume(np.asarray(values, np.float32), voxel_um=(2.0, 0.5, 0.5))


def results(summary: dict[str, Any] | None = SUMMARY, **settings: Any) -> Seen:
    made = volume(np.random.default_rng(0).random((4, 20, 30)))
    return Seen(
        {"deconvolve.deconvolved": made},
        {"deconvolve.summary": summary or {}},
        settings={f"deconvolve.{key}": value for key, value in settings.items()},
    )


def test_a_run_without_the_stage_shows_nothing_of_it() -> None:
    assert deconvolution.deconvolution(Known()) == ""


def test_a_constant_stack_is_told() -> None:
    assert "Every voxel of the stack is the same" in deconvolution.deconvolution(results(None))


def test_pictures_show_the_stack_from_above_and_from_the_side() -> None:
    known = results()
    known.stack = volume(known.arrays["deconvolve.deconvolved"].values + 5)

    text = pictures(known, known.arrays["deconvolve.deconvolved"])

    assert text.count('class="compare"') == 2
    assert "Slice 2, raw and deconvolved" in text
    assert "aspect-ratio:15/10" in text  # y, x: 10 x 15 um
    assert "aspect-ratio:15/8" in text  # z, x: 8 x 15 um
    assert "xz, row 10" in text


def test_raw_and_deconvolved_have_one_grey_scale_above_the_offset() -> None:
    known = results(offset=100.0)
    made = known.arrays["deconvolve.deconvolved"]
    known.stack = volume(made.values + 100)

    text = pictures(known, made)

    sources = [part.split('"')[0] for part in text.split('src="')[1:]]
    assert sources[0] == sources[1]  # the same pixels, so the same picture
    assert sources[2] == sources[3]
    assert sources[0] != sources[2]


@pytest.mark.parametrize("stack", [None, np.zeros((2, 3, 4))])
def test_a_raw_stack_that_is_not_at_hand_is_told(stack: Any) -> None:
    known = results()
    known.stack = None if stack is None else volume(stack)

    text = pictures(known, known.arrays["deconvolve.deconvolved"])

    assert "not at hand" in text
    assert "<img" not in text


def test_the_curves_are_those_of_the_summary(caught: Caught) -> None:
    quality(SUMMARY)

    beads, gains, empty = caught.figures["deconvolution"].axes
    ideal, denoised, sharpened = (line.get_ydata() for line in beads.lines)
    np.testing.assert_allclose(ideal, SUMMARY["bead_amplitude"])
    np.testing.assert_allclose(denoised, [0.67, 0.26, 0.075, 0.004, 1e-4])  # peaks, not gains
    np.testing.assert_allclose(sharpened, [0.9, 0.35, 0.1, 0.005, 1e-4])
    assert [bar.get_height() for bar in gains.patches] == [0.42, 0.987]
    assert [bar.get_height() for bar in empty.patches] == [3, 1, 124]


def test_a_stack_that_was_not_sharpened_has_one_curve(caught: Caught) -> None:
    quality(SUMMARY | {"bead_deconvolved": SUMMARY["bead_denoised"]})

    assert len(caught.figures["deconvolution"].axes[0].lines) == 2


@pytest.mark.usefixtures("caught")
def test_the_caption_tells_the_numbers() -> None:
    text = quality(SUMMARY)

    assert "the 1,204 bright spots of this stack keep: the dimmest tenth 42 %" in text
    assert "3 before and 1 after" in text
    assert "it would show 124 spots" in text
    assert "0.416 before, 0.0533 denoised, 0.21 sharpened" in text


def test_missing_gains_are_dashes(caught: Caught) -> None:
    text = quality(SUMMARY | {"gain_of_dim_spots": None, "gain_of_bright_spots": None})

    assert "the dimmest tenth \N{EN DASH}, the brightest \N{EN DASH}" in text
    gains = caught.figures["deconvolution"].axes[1]
    assert [bar.get_height() for bar in gains.patches] == [0, 0]


def test_the_summary_of_the_stage_is_what_the_report_reads() -> None:
    stack = data.volume(nuclei((5, 32, 32)), voxel_um=(2.0, 0.5, 0.5))
    made = deconvolve(stack, params=Deconvolve(iterations=3))
    known = Seen({"deconvolve.deconvolved": made.deconvolved}, {"deconvolve.summary": made.summary})
    known.stack = stack

    text = deconvolution.deconvolution(known)

    assert "<svg" in text
    assert text.count("<figure") == 3


def test_the_page_of_a_run_without_the_stage_does_not_name_it(tmp_path: Path) -> None:
    text = page.build(write_run(tmp_path / "run", Scene(n_neurons=3)))

    assert "deconvolved" not in text
