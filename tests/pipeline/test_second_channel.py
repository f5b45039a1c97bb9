"""Optional stages, a second channel and a reference: what a plan makes of them, come and gone."""

import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from clgkit import io
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline import settings
from clgkit.pipeline.inputs import RawInputs
from clgkit.pipeline.plan import stages_of
from clgkit.pipeline.runner import Selection
from clgkit.pipeline.store import MANIFEST, Store
from clgkit.stages import EXTRA, STAGES
from tests.pipeline.tiny import CHAIN, compute, opened, states

Clg = Callable[..., tuple[int, str, str]]
OPTIONAL = tuple(name for name, stage in STAGES.items() if stage.optional)
SETTINGS: dict[str, dict[str, Any]] = {
    "nuclear": {"path": "raw/nuclear"},
    "reference": {"path": "r.tif", "voxel_um": (1.0, 2.0, 2.0)},
    "plane_map": {"path": "p.txt"},
    "model": {"path": "my network.onnx"},
    "labels": {"path": 'a "folder"\\of masks', "axes": "zyx"},
    "psf": {"path": "bead.tif", "voxel_um": (0.5, 0.1, 0.1), "channel": 1},
    "deconvolve": {"iterations": 7, "psf": "measured"},
    "denoise": {"store": "factors"},
    "apply_motion": {"line_offset": "none"},
}
PAIRS = [*itertools.combinations(SETTINGS, 2), (), tuple(SETTINGS)]


def second_channel(run: Path) -> Path:
    """Put a nuclear channel, as long as the movie, beside the raw data of a run."""
    folder = run / "raw" / "nuclear"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for path in sorted((run / "raw" / "function").iterdir()):
        frames = rng.poisson(20, tifffile.imread(path).shape).astype(np.uint16)
        io.write_tiff(folder / path.name, frames, axes="tyx", voxel_um=(8.0, 2.0, 2.0), rate_hz=2)
    return folder


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_settings_survive_the_file_whatever_is_asked_for(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    given = {name: SETTINGS[name] for name in names}

    settings.write(tmp_path, given)

    loaded = settings.load(tmp_path)
    assert loaded.sections == settings.parse(given, "these values")
    asked = {name for name in OPTIONAL if loaded.asks_for(name)}
    assert asked == {name for name in names if name in OPTIONAL}
    assert {name for name in EXTRA if loaded.path(name)} == {n for n in names if n in EXTRA}


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_text_and_settings_are_the_same_thing(names: tuple[str, ...]) -> None:
    sections = settings.parse({name: SETTINGS[name] for name in names}, "these values")

    text = settings.as_toml(sections, [name for name in OPTIONAL if name not in names])

    again = settings.parse(tomllib.loads(text), "this text")
    assert again == sections
    assert settings.as_toml(again, [name for name in OPTIONAL if name not in names]) == text


def test_the_settings_that_are_printed_ask_for_no_optional_stage(clg: Clg, tmp_path: Path) -> None:
    _, printed, _ = clg("settings")
    (tmp_path / "run.toml").write_text(printed, encoding="utf-8")

    loaded = settings.load(tmp_path)

    assert stages_of(loaded) == [*CHAIN]
    assert loaded.sections == settings.parse({}, "the defaults")


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_section_of_an_optional_stage_is_printed_ready_to_paste(clg: Clg, name: str) -> None:
    _, printed, _ = clg("settings", name)

    assert list(tomllib.loads(printed)) == [name]


def test_a_file_written_anew_from_its_own_values_asks_for_the_same(tmp_path: Path) -> None:
    settings.write(tmp_path, {"denoise": SETTINGS["denoise"]})
    first = (tmp_path / "run.toml").read_bytes()

    settings.write(tmp_path, tomllib.loads(first.decode()))

    assert (tmp_path / "run.toml").read_bytes() == first


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_stage_that_the_run_lacks_cannot_be_its_end_or_be_forced(
    finished: Path, name: str
) -> None:
    for selection in (Selection(until=name), Selection(force=(name,))):
        with pytest.raises(SettingsError, match=f"{name} is optional, and this run does not ask"):
            opened(finished).plan(selection)


def test_a_stage_that_the_run_has_can_be_its_end(finished: Path) -> None:
    found = states(finished, "deconvolve.iterations=5", until="deconvolve")

    assert found == {"deconvolve": "missing not computed yet"}


def test_a_run_that_cannot_end_there_says_so(clg: Clg, finished: Path) -> None:
    code, told, err = clg("run", finished, "--until", "apply-motion", "--dry-run")

    assert (code, told) == (2, "")
    assert "apply_motion is optional" in err
    assert "[nuclear]" in err


def test_a_stage_that_came_and_went_leaves_no_trace_in_the_plan(finished: Path) -> None:
    before = states(finished)
    asked = ("deconvolve.iterations=2", "deconvolve.method=none")
    with_it = compute(finished, *asked, until="normalize_contrast")
    assert with_it.computed == ["deconvolve", "normalize_contrast"]

    there, gone = states(finished, *asked), states(finished)

    assert (there["deconvolve"], there["normalize_contrast"]) == ("current", "current")
    assert gone.keys() == before.keys()
    assert gone["normalize_contrast"] == "stale structure changed"
    assert gone["correct_motion"] == "current"


def test_a_result_of_a_stage_that_went_is_kept_and_verified(clg: Clg, finished: Path) -> None:
    compute(finished, "deconvolve.iterations=2", until="deconvolve")

    code, told, _ = clg("verify", finished)

    assert code == 0
    assert "deconvolve: " in told


def test_what_is_asked_for_and_not_there_is_not_whole(clg: Clg, finished: Path) -> None:
    file = finished / settings.FILE
    file.write_text(file.read_text(encoding="utf-8") + "\n[deconvolve]\n", encoding="utf-8")

    code, _, err = clg("verify", finished)

    assert code == 6
    assert "deconvolve: incomplete" in err


def test_a_run_without_its_settings_can_still_be_verified(clg: Clg, finished: Path) -> None:
    (finished / settings.FILE).unlink()

    assert clg("verify", finished, "--quick")[0] == 0


def test_a_second_channel_that_goes_is_named(finished: Path) -> None:
    second_channel(finished)
    asked = ("nuclear.path=raw/nuclear",)
    assert not compute(finished, *asked, until="align_planes").failed

    found = states(finished)

    assert "apply_motion" not in found
    assert found["align_planes"].startswith("stale nuclear is gone")
    assert states(finished, *asked)["align_planes"] == "current"


def test_another_second_channel_is_noticed(finished: Path) -> None:
    folder = second_channel(finished)
    asked = ("nuclear.path=raw/nuclear",)
    compute(finished, *asked, until="apply_motion")
    assert states(finished, *asked)["apply_motion"] == "current"
    last = max(folder.iterdir())
    content = bytearray(last.read_bytes())
    content[-3] ^= 1

    last.write_bytes(content)

    found = states(finished, *asked)
    assert found["apply_motion"] == "stale nuclear changed"
    assert found["correct_motion"] == "current"


@pytest.mark.parametrize(("cut", "what"), [(1, "time 29"), (0, "y 47")])
def test_a_second_channel_of_another_size_stops_the_run_before_the_first_stage(
    clg: Clg, fish: Path, cut: int, what: str
) -> None:
    folder = second_channel(fish)
    for path in folder.iterdir():
        frames = tifffile.imread(path)
        made = frames[:-cut] if cut else frames[:, :-1]
        io.write_tiff(path, made, axes="tyx", voxel_um=(8.0, 2.0, 2.0), rate_hz=2)
    code, told, err = clg("run", fish, "--set", "nuclear.path=raw/nuclear", "--no-report")

    assert (code, told) == (3, "")
    assert what in err
    assert "Correct [nuclear] in the settings file" in err
    assert not [name for name in STAGES if (fish / name).exists()]


def test_a_reference_with_another_number_of_planes_is_refused(fish: Path) -> None:
    tifffile.imwrite(fish / "r.tif", np.ones((5, 48, 48), np.uint16))
    asked = ("reference.path=r.tif", "reference.axes=zyx")

    with pytest.raises(DataError, match=r"The reference r.tif has z 5.*\[reference\]"):
        RawInputs(opened(fish, *asked).settings).check()


def test_a_swapped_reference_is_noticed_and_one_that_goes_is_named(finished: Path) -> None:
    template = Store(finished).result("correct_motion").array("template").values
    for name, image in (("a.tif", template), ("b.tif", template[:, ::-1])):
        tifffile.imwrite(finished / name, image)
    one, other = ((f"reference.path={name}", "reference.axes=zyx") for name in ("a.tif", "b.tif"))
    assert not compute(finished, *one, until="correct_motion").failed

    assert states(finished, *one)["correct_motion"] == "current"
    assert states(finished, *other)["correct_motion"] == "stale reference changed"
    assert states(finished)["correct_motion"] == "stale reference is gone"
    (finished / "a.tif").write_bytes((finished / "b.tif").read_bytes())
    assert states(finished, *one)["correct_motion"] == "stale reference changed"


def test_a_reference_that_is_copied_elsewhere_is_the_same_reference(finished: Path) -> None:
    tifffile.imwrite(finished / "a.tif", np.ones((2, 48, 48), np.uint16))
    (finished / "b.tif").write_bytes((finished / "a.tif").read_bytes())

    keys = [
        opened(finished, f"reference.path={name}").raw.keys()["reference"]
        for name in ("a.tif", "b.tif")
    ]

    assert keys[0] == keys[1]


@pytest.mark.parametrize("name", ["nuclear", "reference", "plane_map", "model", "labels", "psf"])
def test_a_raw_input_that_is_not_there_is_named(clg: Clg, finished: Path, name: str) -> None:
    for command in ("status", "run"):
        code, _, err = clg(command, finished, "--set", f"{name}.path=raw/missing.tif")

        assert code == 3
        assert "missing.tif" in err


def test_motion_of_a_second_channel_needs_one(finished: Path) -> None:
    with pytest.raises(SettingsError, match=r"The run has no nuclear: fill in \[nuclear\] path"):
        states(finished, "apply_motion.line_offset=none")


def test_a_device_is_no_science(finished: Path) -> None:
    assert set(states(finished, "resources.device=cuda:3").values()) == {"current"}


def test_a_dry_run_estimates_optional_stages_too(clg: Clg, finished: Path) -> None:
    second_channel(finished)
    asked = [f"--set={section}" for section in (
        "deconvolve.iterations=5", "denoise.store=factors", "nuclear.path=raw/nuclear",
    )]  # fmt: skip

    code, told, err = clg("run", finished, "--dry-run", *asked)

    assert code == 0, err
    for name in OPTIONAL:
        row = next(line for line in told.splitlines() if f" {name} " in line)
        assert "missing" in row
    assert not any((finished / name / MANIFEST).exists() for name in OPTIONAL)


def test_an_export_speaks_of_the_stages_of_the_run_only(
    clg: Clg, finished: Path, tmp_path: Path
) -> None:
    compute(finished, "deconvolve.iterations=2", until="deconvolve")

    code, _, err = clg("export", finished, "--to", tmp_path / "out", "--format", "csv")

    assert (code, err) == (0, "")


def test_traces_are_taken_from_the_movie_that_is_named(finished: Path) -> None:
    plain = states(finished, "denoise.method=gaussian")
    assert plain["denoise"] == "missing not computed yet"
    assert plain["extract_traces"] == "current"

    asked = ("denoise.method=gaussian", "extract_traces.movie=denoised")
    assert states(finished, *asked)["extract_traces"].startswith(
        "stale movie corrected -> denoised, denoise.denoised changed"
    )
    outcome = compute(finished, *asked, until="extract_traces")
    assert outcome.computed == ["denoise", "extract_traces"]

    store = Store(finished)
    found = store.result("extract_traces").array("rois")
    labels = store.result("extract_traces").array("plane_labels").values
    movie = store.result("denoise").array("denoised").values
    plane, nucleus = int(found.plane[0]), int(found.nucleus[0])
    wanted = movie[:, plane, labels[plane] == nucleus].mean(axis=1)
    np.testing.assert_allclose(found.values[0], wanted, rtol=1e-5)  # sums of float32


def test_a_denoised_movie_must_be_made_before_traces_are_taken_from_it(
    clg: Clg, finished: Path
) -> None:
    with pytest.raises(SettingsError, match=r'movie is "denoised", and this run has no denoise'):
        states(finished, "extract_traces.movie=denoised")

    factors = ("denoise.store=factors", "extract_traces.movie=denoised")
    with pytest.raises(SettingsError, match=r'set denoise.store = "pixels"'):
        states(finished, *factors)

    _, told, _ = clg("extract-traces", "--help")
    assert "--movie" not in told


def test_a_stage_does_not_wait_for_what_it_does_not_read(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DataError("no good")

    monkeypatch.setattr("clgkit.stages.denoise.denoise", broken)

    outcome = compute(finished, "denoise.method=gaussian", force=("extract_traces",))

    assert list(outcome.failed) == ["denoise"]
    assert outcome.computed[0] == "extract_traces"
    assert not outcome.blocked
