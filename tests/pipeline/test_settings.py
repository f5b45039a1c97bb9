"""One file holds all settings; what it does not understand it refuses, all at once."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clgkit.errors import SettingsError
from clgkit.pipeline import settings
from clgkit.pipeline.settings import as_toml, load, parse, settings_model, toml_value, write
from clgkit.stages import STAGES

CHANGED: dict[str, dict[str, Any]] = {
    "structure": {"path": 'a "strange"\\path\twith\nbreaks\x7f ü', "voxel_um": (1.0, 0.4, 4e-05)},
    "function": {"path": "raw/function", "rate_hz": 2, "channel": 1, "trim": True},
    "plane_map": {"path": "planes.txt"},
    "resources": {"workers": 3, "executor": "processes"},
    "correct_motion": {"max_shift_px": 4},
    "compute_dff": {"edges": "zero", "interpolate_gaps": True},
    "build_network": {"rule": "fixed", "threshold": -0.125},
}


def refused(folder: Path, text: str, *overrides: str) -> str:
    (folder / "run.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(folder, overrides)
    return caught.value.message


def test_a_written_file_gives_every_default(tmp_path: Path) -> None:
    write(tmp_path)

    assert load(tmp_path).sections == parse({}, "defaults")


def test_a_written_file_gives_every_changed_value(tmp_path: Path) -> None:
    write(tmp_path, CHANGED)

    loaded = load(tmp_path)

    assert loaded.sections == parse(CHANGED, "changes")
    for section, values in CHANGED.items():
        for key, value in values.items():
            assert getattr(loaded[section], key) == value


def test_the_file_is_complete_and_every_setting_has_a_comment(tmp_path: Path) -> None:
    lines = write(tmp_path).read_text().splitlines()

    for name, field in settings_model().model_fields.items():
        is_optional = name in STAGES and STAGES[name].optional
        at = lines.index(f"# [{name}]" if is_optional else f"[{name}]")
        kind: Any = field.annotation
        for key in kind.model_fields:
            place = next(
                number
                for number, line in enumerate(lines[at:], at)
                if line.startswith((f"{key} = ", f"# {key} ="))
            )
            assert lines[place - 1].startswith("# ")


def test_an_unknown_setting_is_named_with_what_looks_like_it(tmp_path: Path) -> None:
    message = refused(tmp_path, "[correct_motion]\nmax_shift = 3\niterations = 0\n")

    assert message == (
        f"{tmp_path / 'run.toml'} has settings this version does not accept:\n"
        "  - correct_motion.iterations = 0: Input should be greater than 0\n"
        "  - correct_motion.max_shift: unknown; did you mean max_shift_px?\n"
        "Run `clg settings` to see every setting with its default."
    )


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        "[corect_motion]\n[structure]\nvoxel_um = [1, 2]\n[function]\nrate_hz = -1\n"
        "[build_network]\nrule = 'best'\nthreshold = nan\n",
    )

    for told in (
        "corect_motion: unknown; did you mean correct_motion?",
        "structure.voxel_um",
        "function.rate_hz = -1",
        "build_network.rule = 'best'",
        "build_network.threshold = nan",
    ):
        assert told in message


def test_overrides_are_read_as_toml(tmp_path: Path) -> None:
    write(tmp_path)

    loaded = load(
        tmp_path,
        (
            "correct_motion.max_shift_px=4",
            "structure.voxel_um=[1, 0.5, 0.5]",
            "function.path=raw/a b.tif",
            'plane_map.path = "x = y.txt"',
            "compute_dff.interpolate_gaps=true",
        ),
    )

    assert loaded["correct_motion"].max_shift_px == 4
    assert loaded["structure"].voxel_um == (1, 0.5, 0.5)
    assert loaded["function"].path == "raw/a b.tif"
    assert loaded["plane_map"].path == "x = y.txt"
    assert loaded["compute_dff"].interpolate_gaps is True


@pytest.mark.parametrize("text", ["max_shift_px=4", "correct_motion.max_shift_px", "=", ".=1"])
def test_an_override_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path, "", text)


def test_an_override_of_what_is_no_section_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "correct_motion = 3\n", "correct_motion.max_shift_px=4")

    assert "[correct_motion]" in message


@pytest.mark.parametrize("text", ["a = ", "[a", "\xff"])
def test_what_is_no_toml_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(SettingsError, match="not valid TOML"):
        load(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    assert "larger than 1 MB" in refused(tmp_path, "#" * 1_000_001)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="clg init"):
        load(tmp_path)


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.lists(st.floats(-1e300, 1e300)),
    )
)
def test_values_survive_toml(value: Any) -> None:
    read = tomllib.loads(f"value = {toml_value(value)}")["value"]

    assert read == value
    assert type(read) is type(value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"function": {"path": "raw/f.tif"}})

    loaded = load(tmp_path)

    assert loaded.path("function") == tmp_path / "raw/f.tif"
    assert loaded.path("structure") is None


def test_settings_cannot_be_changed_after_loading() -> None:
    sections: Any = parse({}, "defaults")

    with pytest.raises(ValueError, match="frozen"):
        sections.correct_motion.max_shift_px = 3


def test_no_setting_of_resources_is_science() -> None:
    resources = set(settings.Resources.model_fields)
    for name, field in settings_model().model_fields.items():
        kind: Any = field.annotation
        if name != "resources":
            assert not resources & set(kind.model_fields)


def test_numbers_are_written_so_that_they_read_back() -> None:
    text = as_toml(parse({"compute_dff": {"short_window_s": 10 / 3}}, "x"))

    value = tomllib.loads(text)["compute_dff"]["short_window_s"]

    assert math.isclose(value, 10 / 3, rel_tol=0, abs_tol=0)
