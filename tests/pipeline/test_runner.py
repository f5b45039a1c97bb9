"""A run computes what is not current, isolates what fails, and says what it did."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile

from clgkit.errors import ClgError, DataError, ResourceError, StoreError
from clgkit.pipeline import runner
from clgkit.pipeline.runner import Outcome, first_error
from clgkit.pipeline.store import Store
from clgkit.workspace import Workspace
from tests.pipeline.tiny import (
    CHAIN,
    FISH,
    assert_same_numbers,
    compute,
    litter,
    numbers,
    opened,
    states,
)

Clg = Callable[..., tuple[int, str, str]]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def failing(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a stage raise `error`."""
    function_of = runner.function_of

    def other(stage: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        return fail if stage == name else function_of(stage)

    monkeypatch.setattr(runner, "function_of", other)


def test_current_stages_are_kept(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHAIN:
        failing(name, AssertionError("computed again"), monkeypatch)

    outcome = compute(finished)

    assert outcome.kept == list(CHAIN)
    assert outcome.computed == []


def test_what_follows_a_change_is_computed_and_the_rest_is_kept(
    finished: Path, expected: dict[str, Any]
) -> None:
    outcome = compute(finished, "dismantle.method=betweenness")

    assert outcome.computed == ["dismantle"]
    assert Store(finished).result("dismantle").manifest.params["method"] == "betweenness"
    assert compute(finished).computed == ["dismantle"]
    assert_same_numbers(numbers(finished), expected)
    assert not list(litter(finished))


def test_a_failing_stage_blocks_only_what_needs_it(
    fish: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing("compute_dff", DataError("no good", code="E_SHORT"), monkeypatch)

    outcome = compute(fish)

    assert list(outcome.failed) == ["compute_dff"]
    assert outcome.blocked == {
        "denoise_traces": "compute_dff",
        "build_network": "denoise_traces",
        "measure_network": "build_network",
        "dismantle": "build_network",
    }
    assert outcome.computed == list(CHAIN[:6])
    assert states(fish)["merge_planes"] == "current"
    assert states(fish)["dismantle"] == "missing not computed yet"


def test_an_independent_stage_does_not_wait(fish: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing("segment_nuclei", DataError("no good"), monkeypatch)

    outcome = compute(fish)

    assert outcome.computed == ["normalize_contrast", "correct_motion", "align_planes"]


def test_a_plane_that_fails_is_isolated_and_named(fish: Path, clg: Clg) -> None:
    plane = fish / "raw/function/z_02.tif"
    with tifffile.TiffFile(plane) as file:
        frames = file.asarray()
    blank = np.full_like(frames, 7)  # no template can be made of it
    tifffile.imwrite(plane, blank, metadata=None)

    outcome = compute(fish, "function.axes=tyx", "function.ignore_noise=true")

    assert not outcome.failed
    manifest = Store(fish).manifest("correct_motion")
    assert manifest is not None
    assert list(manifest.failed_planes) == ["1"]
    assert any("plane 1 was left out" in warning for warning in outcome.warnings)
    good = opened(fish).store.result("correct_motion").array("corrected").values[:, 0]
    assert np.isfinite(good).mean() > 0.8  # the rest was shifted out of the frame
    code, told, _ = clg("status", fish, "--set", "function.axes=tyx",
                        "--set", "function.ignore_noise=true")  # fmt: skip
    assert code == 0
    assert "planes left out: 1" in " ".join(told.split())


def test_the_disk_is_looked_at_first(fish: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))

    with pytest.raises(ResourceError, match=r"needs about \d+ MB .* but 0 MB are free") as caught:
        compute(fish)

    assert caught.value.code == "E_DISK"
    assert not list(litter(fish))


def test_noise_is_refused_before_the_first_frame(fish: Path) -> None:
    shape = (FISH.n_frames, *FISH.plane_shape_px)
    noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    for plane in (fish / "raw/function").glob("*.tif"):
        tifffile.imwrite(plane, noise, metadata=None)

    with pytest.raises(DataError, match="ignore_noise") as caught:
        compute(fish, "function.axes=tyx")

    assert caught.value.code == "E_NOISE"


def test_what_the_system_refuses_is_an_error_of_the_stage(
    fish: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing("compute_dff", PermissionError(13, "Permission denied"), monkeypatch)

    outcome = compute(fish)

    assert isinstance(outcome.failed["compute_dff"], ResourceError)
    assert "Permission denied" in outcome.failed["compute_dff"].message


def test_a_bug_is_not_hidden(fish: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing("compute_dff", ZeroDivisionError("ours"), monkeypatch)

    with pytest.raises(ZeroDivisionError):
        compute(fish)

    assert not (fish / ".lock").exists()


def test_until_stops_there(fish: Path) -> None:
    outcome = compute(fish, until="align_planes")

    assert outcome.computed == ["correct_motion", "align_planes"]


def test_force_computes_again_and_gives_the_same(finished: Path, expected: dict[str, Any]) -> None:
    outcome = compute(finished, force=("correct_motion",))

    assert outcome.computed == ["correct_motion"]
    assert_same_numbers(numbers(finished), expected)
    assert not list(litter(finished))


def test_a_damaged_chunk_is_mended_and_nothing_else_computed(
    finished: Path, expected: dict[str, Any]
) -> None:
    chunk = finished / "correct_motion/corrected.zarr/0/c/0/1/0/0"
    before = {
        path: path.stat().st_mtime_ns for path in chunk.parents[3].rglob("*") if path.is_file()
    }
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 8
    chunk.write_bytes(content)

    assert compute(finished).computed == []  # sizes alone do not tell
    outcome = compute(finished, check=True)

    assert outcome.computed == ["correct_motion"]
    assert_same_numbers(numbers(finished), expected)
    kept = [path for path, when in before.items() if path.stat().st_mtime_ns == when]
    assert len(kept) == len(before) - 1
    assert set(states(finished, check=True).values()) == {"current"}


def test_results_do_not_depend_on_resources(fish: Path, expected: dict[str, Any]) -> None:
    workspace = Workspace(workers=2, executor="threads", memory_mb=1)

    outcome = opened(fish).execute(workspace)

    assert not outcome.failed
    assert_same_numbers(numbers(fish), expected)


def test_every_stage_leaves_a_receipt_with_its_cost(finished: Path) -> None:
    for name in CHAIN:
        manifest = Store(finished).manifest(name)
        assert manifest is not None
        assert set(manifest.cost) == {"seconds", "cpu_seconds", "peak_mb"}
        assert manifest.cost["peak_mb"] > 50
        assert manifest.provenance["packages"]["numpy"] == np.__version__
        assert manifest.provenance["hash"] == "sha256"


def test_the_log_has_lines_with_codes(fish: Path, clg: Clg) -> None:
    code, _, err = clg("run", fish, "--no-report", "--until", "align_planes", "--set",
                       "align_planes.max_shift_px=500")  # fmt: skip

    assert code in {0, 3}, err
    assert "Traceback" not in err
    lines = [json.loads(line) for line in (fish / "log.jsonl").read_text().splitlines()]
    assert lines[0]["message"] == "correct_motion: not computed yet"
    assert {"time", "level", "message"} <= set(lines[0])
    assert any(line["message"].startswith("correct_motion: done in") for line in lines)
    errors = [line for line in lines if line["level"] == "error"]
    assert (code, [line["code"] for line in errors]) in [(0, []), (3, ["E_DATA"])]


def test_an_error_before_the_first_stage_is_logged_too(fish: Path, clg: Clg) -> None:
    (fish / "raw/structure.tif").write_bytes(b"")

    code, _, err = clg("run", fish)

    assert code == 3
    assert "structure.tif" in err
    (line,) = (fish / "log.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["code"]) == ("error", "E_NOT_IMAGE")


def test_a_dry_run_computes_nothing_and_gives_numbers(fish: Path, clg: Clg) -> None:
    before = sorted(fish.rglob("*"))

    code, told, _ = clg("run", fish, "--dry-run")

    assert code == 0
    assert sorted(fish.rglob("*")) == before
    for name in CHAIN:
        (row,) = [line for line in told.splitlines() if name in line]
        *_, disk, memory = [cell.strip().replace(",", "") for cell in row.split("│")[1:-1]]
        assert float(disk) >= 0
        assert float(memory) > 100


def test_a_dry_run_reads_no_movie_for_its_time_average(
    fish: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(fish, "structure.time_average=true", "structure.path=")
    monkeypatch.setattr(np, "zeros", None)  # what the average would be summed in

    assert run.estimates(run.plan())["segment_nuclei"].disk_mb > 0


def test_a_path_and_a_time_average_contradict(fish: Path) -> None:
    with pytest.raises(ClgError, match="time_average"):
        compute(fish, "structure.time_average=true")


def test_the_gravest_error_decides() -> None:
    data, store = DataError("a"), StoreError("b")

    assert first_error(Outcome(failed={"x": data, "y": store})) is store
    assert first_error(Outcome(failed={"x": data})) is data
    assert first_error(Outcome()) is None
