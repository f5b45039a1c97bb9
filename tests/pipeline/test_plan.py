"""A plan says what is not current, and why, in words."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clgkit.errors import DataError, SettingsError
from clgkit.pipeline.inputs import fingerprint
from clgkit.pipeline.runner import Selection
from clgkit.pipeline.store import MANIFEST, Store
from clgkit.stages import STAGES
from tests.pipeline.tiny import CHAIN, compute, opened, states


def test_nothing_is_there_at_first(fish: Path) -> None:
    assert set(states(fish).values()) == {"missing not computed yet"}


def test_after_a_run_everything_is_current(finished: Path) -> None:
    assert set(states(finished).values()) == {"current"}


def test_a_changed_setting_is_noticed_and_named(finished: Path) -> None:
    found = states(finished, "correct_motion.max_shift_px=4", "correct_motion.upsampling=20")

    assert found["correct_motion"] == "stale max_shift_px 15 -> 4, upsampling 50 -> 20"


def test_a_change_goes_downstream_and_no_further(finished: Path) -> None:
    found = states(finished, "compute_dff.edges=zero")

    for name in CHAIN[: CHAIN.index("compute_dff")]:
        assert found[name] == "current"
    assert found["compute_dff"] == "stale edges mirror -> zero"
    assert found["denoise_traces"] == "stale compute_dff.dff changed"
    assert found["build_network"] == "stale denoise_traces.scores changed"
    assert found["dismantle"] == "stale build_network.network changed"


def test_resources_change_nothing(finished: Path) -> None:
    found = states(
        finished, "resources.workers=1", "resources.memory_mb=50", "resources.executor=serial"
    )

    assert set(found.values()) == {"current"}


def test_a_changed_recording_is_noticed(finished: Path) -> None:
    movie = finished / "raw/function/z_01.tif"
    content = bytearray(movie.read_bytes())
    content[-5] ^= 1
    movie.write_bytes(content)

    found = states(finished)

    assert found["correct_motion"] == "stale function changed"
    assert found["segment_nuclei"] == "current"


def test_a_changed_fact_of_the_data_is_noticed(finished: Path) -> None:
    found = states(finished, "function.rate_hz=3")

    assert found["correct_motion"] == "stale function changed"


def test_a_copied_recording_is_the_same_recording(finished: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(finished / "raw", tmp_path / "elsewhere")
    for path in moved.rglob("*.tif"):
        os.utime(path, (1, 1))

    found = states(
        finished, f"structure.path={moved}/structure.tif", f"function.path={moved}/function"
    )

    assert set(found.values()) == {"current"}


def test_a_given_plane_map_changes_the_alignment(finished: Path) -> None:
    found = states(finished, "plane_map.path=truth/planes.txt")

    assert found["align_planes"] == "stale plane_map changed"
    assert found["correct_motion"] == "current"


def test_a_new_version_of_a_stage_is_noticed(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = STAGES["compute_dff"]
    monkeypatch.setitem(STAGES, "compute_dff", replace(old, version=old.version + 1))

    assert states(finished)["compute_dff"] == f"stale version {old.version} -> {old.version + 1}"


def test_forced_stages_are_computed_again(finished: Path) -> None:
    found = states(finished, force=("compute_dff",))

    assert found["compute_dff"] == "stale forced"
    assert found["denoise_traces"] == "current"  # the numbers will be the same


def test_until_takes_what_leads_there_only(finished: Path) -> None:
    assert list(states(finished, until="merge_planes")) == [
        "segment_nuclei", "correct_motion", "align_planes", "extract_traces", "merge_planes",
    ]  # fmt: skip


def test_missing_files_are_damage_and_checksums_are_compared_on_request(finished: Path) -> None:
    (finished / "compute_dff/noise.zarr/0/c/0").unlink()
    chunk = finished / "merge_planes/fluorescence.zarr/0/c/0/0"
    content = bytearray(chunk.read_bytes())
    content[30] ^= 1
    chunk.write_bytes(content)

    quick, full = states(finished), states(finished, check=True)

    assert quick["compute_dff"] == "damaged noise.zarr/0/c/0 of compute_dff is missing"
    assert quick["merge_planes"] == "current"
    assert full["merge_planes"].startswith("damaged fluorescence.zarr/0/c/0/0")


@pytest.mark.parametrize(("edges", "why"), [
    ("mirror", "partial interrupted"),
    ("zero", "missing interrupted with other settings or data"),
])  # fmt: skip
def test_an_interruption_is_told(finished: Path, edges: str, why: str) -> None:
    Store(finished).reopen("compute_dff")

    assert states(finished, f"compute_dff.edges={edges}")["compute_dff"] == why


@pytest.mark.parametrize("kind", ["until", "force"])
def test_an_unknown_stage_is_refused_with_what_looks_like_it(fish: Path, kind: str) -> None:
    selection = Selection(until="merge_plane") if kind == "until" else Selection(force=("merg",))

    with pytest.raises(SettingsError, match="Did you mean merge_planes"):
        opened(fish).plan(selection)


def test_a_run_without_data_says_what_to_fill_in(fish: Path) -> None:
    with pytest.raises(SettingsError, match=r"fill in \[structure\] path"):
        states(fish, "structure.path=")


def test_a_missing_file_is_named(fish: Path) -> None:
    with pytest.raises(DataError, match=r"raw/other\.tif") as caught:
        states(fish, "structure.path=raw/other.tif")

    assert caught.value.code == "E_PATH"


def test_the_time_average_follows_the_movie(fish: Path) -> None:
    average = ("structure.time_average=true", "structure.path=")
    assert not compute(fish, *average, until="segment_nuclei").failed

    assert states(fish, *average)["segment_nuclei"] == "current"
    changed = states(fish, *average, "function.rate_hz=5")
    assert changed["segment_nuclei"] == "stale structure changed"


def test_fingerprints_look_at_both_ends_of_large_files(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(3 << 20))
    first = fingerprint(path)

    for place in (0, -1):
        content = bytearray(3 << 20)
        content[place] = 1
        path.write_bytes(content)
        assert fingerprint(path) != first
    path.write_bytes(bytes((3 << 20) + 1))
    assert fingerprint(path) != first


def test_fingerprints_of_folders_know_names_but_not_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "z_01.tif").write_bytes(b"a")
    first = fingerprint(tmp_path)

    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert fingerprint(tmp_path) == first
    (tmp_path / "z_01.tif").rename(tmp_path / "z_02.tif")
    assert fingerprint(tmp_path) != first


def test_an_optional_stage_runs_if_its_section_stands_in_the_file(finished: Path) -> None:
    found = states(finished, "deconvolve.iterations=5")

    assert list(found) == [name for name in STAGES if name in {*CHAIN, "deconvolve"}]
    assert found["deconvolve"] == "missing not computed yet"
    assert found["segment_nuclei"] == "stale deconvolve.deconvolved changed"
    assert found["correct_motion"] == "current"


def test_the_section_of_an_optional_stage_is_a_comment_until_it_is_asked_for(
    finished: Path,
) -> None:
    file = finished / "run.toml"
    text = file.read_text(encoding="utf-8")
    assert "\n# [deconvolve]\n" in text
    assert "\n# iterations = 120\n" in text

    file.write_text(text.replace("\n# [deconvolve]\n", "\n[deconvolve]\n"), encoding="utf-8")

    assert "deconvolve" in states(finished)


def test_a_second_channel_brings_its_stage(finished: Path) -> None:
    found = states(finished, "nuclear.path=raw/function")

    assert list(found) == [name for name in STAGES if name in {*CHAIN, "apply_motion"}]
    assert found["apply_motion"] == "missing not computed yet"
    assert found["align_planes"].startswith("stale apply_motion.template changed")
    assert found["correct_motion"] == "current"


def test_a_reference_changes_the_motion(finished: Path) -> None:
    found = states(finished, "reference.path=raw/structure.tif")

    assert found["correct_motion"] == "stale reference changed"


def test_what_is_no_longer_given_is_named(finished: Path) -> None:
    file = finished / "correct_motion" / MANIFEST
    receipt = json.loads(file.read_text(encoding="utf-8"))
    receipt["inputs"]["reference"] = "abc"
    receipt["key"] = "of a run with a reference"
    file.write_text(json.dumps(receipt), encoding="utf-8")

    assert states(finished)["correct_motion"] == "stale reference is gone"


def test_settings_that_only_a_command_can_have_are_refused(fish: Path) -> None:
    with pytest.raises(SettingsError, match="share the pixels of the raw stack"):
        states(fish, "deconvolve.oversampling=fourier")
