"""A run with denoising: it is asked for, kept, resumed, shown, and its memory is bounded."""

import json
from pathlib import Path

import numpy as np
import pytest

from clgkit.denoising import edge_of, find_components, grid_of, lowrank, measure_noise
from clgkit.pipeline.estimate import estimate
from clgkit.report import page
from clgkit.stages import STAGES
from clgkit.stages.denoise import factor_traces
from tests.pipeline.tiny import CHAIN, compute, opened
from tests.unit.denoising_scene import white

ASKED = "denoise.method=lowrank"


class Watched:
    """Frames that note the largest number of values read at once."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.most = pixels, pixels.shape, 0

    def __getitem__(self, key: object) -> np.ndarray:
        found = self.pixels[key]  # type: ignore[index]
        self.most = max(self.most, found.size)
        return found


def test_the_stage_is_left_out_until_it_is_asked_for(finished: Path) -> None:
    assert "denoise" not in CHAIN
    assert STAGES["denoise"].optional
    assert "denoise" not in [step.name for step in opened(finished).plan()]
    assert "denoise" in [step.name for step in opened(finished, ASKED).plan()]


def test_other_stages_stay_current_when_it_is_added(finished: Path) -> None:
    states = {step.name: step.state for step in opened(finished, ASKED).plan()}

    assert states.pop("denoise") != "current"
    assert set(states.values()) == {"current"}


def test_a_run_keeps_the_denoised_movie_and_shows_it(finished: Path) -> None:
    outcome = compute(finished, ASKED)

    assert not outcome.failed
    run = opened(finished, ASKED)
    result = run.store.result("denoise")
    denoised, corrected = result.array("denoised"), run.store.result("correct_motion").array(
        "corrected"
    )  # fmt: skip
    assert denoised.shape == corrected.shape
    np.testing.assert_array_equal(np.isnan(denoised.values), np.isnan(corrected.values))
    summary = result.manifest.values["summary"]
    json.dumps(summary, allow_nan=False)
    assert [row["plane"] for row in summary["planes"]] == [0, 1]
    text = page.build(run)
    assert "Method lowrank" in text
    assert "edge of noise" in text


def test_factors_are_kept_without_pixels(finished: Path) -> None:
    outcome = compute(finished, "denoise.store=factors", until="denoise")

    assert not outcome.failed
    run = opened(finished, "denoise.store=factors")
    result = run.store.result("denoise")
    assert "denoised" not in result.manifest.outputs
    assert {"footprints", "time_courses", "n_components"} <= set(result.manifest.outputs)
    assert "kept as factors" in page.build(run)
    from clgkit.pipeline.nouns import load_all
    from clgkit.stages.denoise import denoise

    made = load_all(result, denoise)
    height, width = made.mean.sizes["y"], made.mean.sizes["x"]
    masks = np.zeros((1, height, width), bool)
    masks[0, height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = True
    assert np.isfinite(factor_traces(made, 1, masks)).all()


def test_disk_and_memory_are_foreseen(finished: Path) -> None:
    raw = opened(finished).raw

    foreseen = estimate("denoise", raw)

    movie_mb = 4e-6 * raw.function.size
    assert foreseen.disk_mb > movie_mb
    assert foreseen.memory_mb > 200


@pytest.mark.parametrize("n_frames", [200, 800])
def test_memory_does_not_grow_with_the_recording(
    n_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Watched(white(n_frames, 40, 40))
    noise = measure_noise(frames, limit=120)
    assert frames.most <= 64 * 40 * 40
    frames.most = 0
    held: list[int] = []
    original = lowrank._scaled_tile

    def watched(*given: object) -> np.ndarray:
        made = original(*given)  # type: ignore[arg-type]
        held.append(made.size)
        return made

    monkeypatch.setattr(lowrank, "_scaled_tile", watched)
    grid = grid_of((40, 40))
    find_components(
        frames, noise, edge_of(noise, grid), grid, rows=slice(0, 2), columns=slice(0, 2)
    )  # fmt: skip

    assert held == [120 * 24 * 24]
    assert frames.most <= 64 * 24 * 24
