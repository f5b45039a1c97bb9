"""Each stage is a command of its own: its settings are options, its files are plain files."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import pytest

from clgkit import io
from clgkit.cli import entry, plain, plain_tables
from clgkit.errors import DataError, SettingsError
from clgkit.stages import STAGES, params_of

Clg = Callable[..., tuple[int, str, str]]
FIELDS = [
    (stage, name)
    for stage in STAGES
    for name in params_of(stage).model_fields
    if name not in STAGES[stage].chosen_by.values()
]
WITH_NUMBERS = [
    (stage, name) for stage, name in FIELDS
    if params_of(stage).model_fields[name].annotation in {int, float}
]  # fmt: skip
FILES = {
    "deconvolve": ("v.tif", "out.tif"),
    "normalize_contrast": ("v.tif", "out.tif"),
    "segment_nuclei": ("v.tif", "out.tif"),
    "correct_motion": ("v.tif", "out.tif"),
    "denoise": ("f.tif", "out.tif"),
    "apply_motion": ("v.tif", "out.tif", "--shifts", "s.npz"),
    "align_planes": ("f.tif", "v.tif", "out.txt"),
    "extract_traces": ("f.tif", "v.tif", "planes.txt", "out.h5"),
    "merge_planes": ("t.h5", "v.tif", "out.h5"),
    "compute_dff": ("t.h5", "out.h5", "--rate-hz", "2"),
    "denoise_traces": ("t.h5", "out.h5"),
    "build_network": ("t.h5", "out.npz"),
    "measure_network": ("n.gt", "out.csv"),
    "dismantle": ("n.gt", "out"),
}


def named(stage: str) -> str:
    return stage.replace("_", "-")


def options_of(stage: str) -> dict[str, click.Option]:
    parameters = entry.load(named(stage)).params
    return {str(p.name): p for p in parameters if isinstance(p, click.Option)}


@pytest.mark.parametrize(("stage", "name"), FIELDS)
def test_every_setting_is_an_option_with_its_meaning_and_default(stage: str, name: str) -> None:
    field = params_of(stage).model_fields[name]
    option = options_of(stage)[name]

    assert option.opts == [f"--{named(name)}"]
    text = option.help or ""
    assert text.startswith((field.description or "nothing").replace("\n", " "))
    shown = text.rpartition("[default: ")[2].rstrip("]") if "[default: " in text else None
    assert shown == (json.dumps(field.default) if isinstance(field.default, bool | int | float)
                     else field.default)  # fmt: skip
    assert option.default is not field.default  # settings alone know it


@pytest.mark.parametrize(
    ("stage", "name", "shown"),
    [
        ("correct_motion", "method", "[piecewise|rigid]"),
        ("correct_motion", "max_shift_px", "INTEGER"),
        ("segment_nuclei", "elongation", "NUMBER"),
    ],
)
def test_an_option_says_what_it_takes(stage: str, name: str, shown: str) -> None:
    assert options_of(stage)[name].metavar == shown


def test_a_switch_can_be_switched_off() -> None:
    assert options_of("dismantle")["adaptive"].secondary_opts == ["--no-adaptive"]


@pytest.mark.parametrize("stage", STAGES)
def test_all_stages_share_the_resource_options(stage: str) -> None:
    assert {"workers", "memory_mb", "executor"} < set(options_of(stage))


@pytest.mark.parametrize(("stage", "name"), WITH_NUMBERS)
def test_a_word_for_a_number_is_exit_2_and_names_the_setting(
    clg: Clg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = clg(named(stage), *FILES[stage], f"--{named(name)}", "lots")

    assert (code, f"{name} = 'lots'" in err) == (2, True)
    assert not [*tmp_path.iterdir()]  # told before anything was opened


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("0.5", 0.5), ("true", True), ("rigid", "rigid"), ('"rigid"', "rigid"), ("", ""),
     ("1,2", "1,2")],
)  # fmt: skip
def test_values_of_the_command_line_are_read_as_in_the_settings_file(text: str, value: Any) -> None:
    assert plain._plain(text) == value


def test_what_is_not_given_is_the_default_and_all_problems_are_told() -> None:
    kind = params_of("correct_motion")
    nothing = dict.fromkeys(kind.model_fields)

    assert plain.parse(kind, nothing) == kind()
    with pytest.raises(SettingsError) as caught:
        plain.parse(kind, nothing | {"max_shift_px": "0", "method": "bent", "grid_px": "nan"})
    for name in ("max_shift_px = 0", "method = 'bent'", "grid_px = nan"):
        assert name in caught.value.message


@pytest.mark.parametrize("stage", STAGES)
def test_an_input_that_is_not_there_is_exit_3_and_named(
    clg: Clg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = clg(named(stage), *FILES[stage])

    assert (code, "Traceback" in err) == (3, False)
    assert any(name in err for name in FILES[stage][:-1])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_for_the_output_that_is_not_there_is_exit_3(
    clg: Clg, tmp_path: Path, stage: str
) -> None:
    words = list(FILES[stage])
    place = next(i for i, word in enumerate(words) if word.startswith("out"))
    words[place] = str(tmp_path / "no" / words[place])

    code, _, err = clg(named(stage), *words)

    assert (code, f"The folder {tmp_path / 'no'} does not exist" in err) == (3, True)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """A movie of two planes, 8 frames, that moves by one pixel in the second half."""
    rng = np.random.default_rng(0)
    still = rng.normal(100, 20, (2, 48, 48)).astype(np.float32)
    frames = np.stack([still] * 4 + [np.roll(still, 1, axis=2)] * 4)
    np.save(tmp_path / "movie.npy", frames)
    return tmp_path / "movie.npy"


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def test_motion_leaves_shifts_and_template_beside_the_movie(
    clg: Clg, movie: Path, tmp_path: Path
) -> None:
    code, told, _ = clg(
        "correct-motion", movie, tmp_path / "out.npy", "--axes", "tzyx", "--method", "rigid",
        "--shifts", tmp_path / "s.csv", "--template-file", tmp_path / "t.tif",
        "--max-shift-px", "3",
    )  # fmt: skip

    assert (code, told) == (0, f"Wrote {tmp_path / 'out.npy'}.\n")
    assert np.load(tmp_path / "out.npy").shape == (8, 2, 48, 48)
    assert io.open_image(tmp_path / "t.tif", axes="zyx").shape == (2, 48, 48)
    rows = list(rows_of(tmp_path / "s.csv"))
    assert list(rows[0]) == ["frame", "plane", "shift_y_px", "shift_x_px", "agreement", "bad_frame"]
    assert [(row["frame"], row["plane"]) for row in rows[:3]] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "0"),
    ]
    moved = [float(row["shift_x_px"]) for row in rows if row["plane"] == "1"]
    assert moved[0] - moved[-1] == pytest.approx(1, abs=0.1)  # the roll is whole, the fit is not


@pytest.mark.parametrize("words", [("out.png",), ("out.tif", "--template-file", "t.jpg")])
def test_an_ending_is_refused_before_the_work(
    clg: Clg, movie: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("clgkit.stages.correct_motion.correct_motion", never)
    monkeypatch.chdir(movie.parent)

    code, _, err = clg("correct-motion", movie, *words, "--axes", "tzyx")

    assert (code, "written as .tif or .npy" in err) == (3, True)
    assert [path.name for path in movie.parent.iterdir()] == ["movie.npy"]


def test_planes_get_scores_counted_from_1(clg: Clg, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stack = rng.normal(100, 20, (6, 64, 64)).astype(np.float32)
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "template.npy", stack[[1, 4]])
    (tmp_path / "known.txt").write_text("1-2\n")

    code, _, err = clg(
        "align-planes", tmp_path / "template.npy", tmp_path / "stack.npy", tmp_path / "out.txt",
        "--scores", tmp_path / "s.csv", "--plane-map", tmp_path / "known.txt", "--axes", "zyx",
        "--voxel-um", "3,1,1", "--structure-axes", "zyx", "--structure-voxel-um", "1,1,1",
        "--in-plane", "offset", "--nucleus-um", "3",
    )  # fmt: skip

    assert code == 0, err
    rows = list(rows_of(tmp_path / "s.csv"))
    assert list(rows[0])[:6] == ["plane", "slice", "score", "chance", "found", "confidence"]
    assert list(rows[0])[-2:] == ["shift_y_px", "shift_x_px"]
    assert [(row["plane"], row["slice"]) for row in rows] == [("1", "2"), ("2", "5")]
    assert (tmp_path / "out.txt").read_text().split() == ["1-2", "2-5"]


def bundle(n: int = 3, **parts: Any) -> io.TraceBundle:
    trace = np.random.default_rng(2).normal(size=(n, 20)).cumsum(axis=1)
    return io.TraceBundle(trace, **parts)


def test_traces_without_names_are_numbered_from_1() -> None:
    named_ones = plain_tables.labelled(bundle(nucleus=np.array([7, 9, 4])), rate_hz=4)
    others = plain_tables.labelled(bundle())

    assert named_ones.coords["nucleus"].values.tolist() == [7, 9, 4]
    assert others.coords["nucleus"].values.tolist() == [1, 2, 3]
    assert float(named_ones.coords["time"][4]) == 1.0
    assert float(others.coords["time"][4]) == 4.0


def test_only_positions_in_space_become_coordinates() -> None:
    flat = plain_tables.labelled(bundle(position=np.zeros((3, 2))))
    deep = plain_tables.labelled(bundle(position=np.arange(9.0).reshape(3, 3)))

    assert "z" not in flat.coords
    assert deep.coords["y"].values.tolist() == [1, 4, 7]


def test_rois_without_nuclei_cannot_be_merged(clg: Clg, tmp_path: Path) -> None:
    io.write_traces(tmp_path / "rois.npz", bundle())

    code, _, err = clg("merge-planes", tmp_path / "rois.npz", "labels.tif", tmp_path / "out.npz")

    assert (code, "clg extract-traces" in err) == (3, True)


def test_denoised_traces_keep_their_places(clg: Clg, tmp_path: Path) -> None:
    given = bundle(nucleus=np.array([7, 9, 4]), position=np.arange(9.0).reshape(3, 3))
    io.write_traces(tmp_path / "in.npz", given)

    code, told, _ = clg("denoise-traces", tmp_path / "in.npz", tmp_path / "out.npz")

    made = io.read_traces(tmp_path / "out.npz")
    assert (code, "3 traces of 20 frames" in told) == (0, True)
    assert made.nucleus is not None
    assert made.nucleus.tolist() == [7, 9, 4]
    np.testing.assert_array_equal(made.position, given.position)
    assert not np.array_equal(made.trace, given.trace)


@pytest.mark.parametrize("rate", ["0", "-1"])
def test_a_rate_must_be_positive(clg: Clg, rate: str) -> None:
    assert clg("compute-dff", "a.npz", "b.npz", "--rate-hz", rate)[0] == 2


def test_a_network_goes_from_traces_to_removals(clg: Clg, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    trace = np.concatenate([rng.normal(size=(1, 60)) + 0.1 * rng.normal(size=(5, 60)),
                            rng.normal(size=(3, 60))])  # fmt: skip
    io.write_traces(tmp_path / "t.npz", io.TraceBundle(trace, nucleus=np.arange(11, 19)))
    files = tmp_path / "n.gt", tmp_path / "nodes.csv", tmp_path / "out"

    built = clg("build-network", tmp_path / "t.npz", files[0], "--rule", "fixed",
                "--threshold", "0.8")  # fmt: skip
    measured = clg("measure-network", *files[:2])
    broken = clg("dismantle", files[0], files[2], "--target", "0.25", "--no-adaptive")

    assert [made[0] for made in (built, measured, broken)] == [0, 0, 0]
    assert "8 neurons, 10 edges, threshold 0.8000" in built[1]  # five that fire together: 5 * 4 / 2
    assert {"n_isolated 3", "largest_component 5"} < set(measured[1].splitlines())
    nodes = list(rows_of(files[1]))
    assert [row["degree"] for row in nodes] == ["4"] * 5 + ["0"] * 3
    curve = list(rows_of(files[2] / "lcc_curve.csv"))
    assert [row["lcc"] for row in curve] == ["5", "4", "3", "2"]
    assert float(curve[0]["share"]) == 5 / 8
    removed = list(rows_of(files[2] / "removed_nodes.csv"))
    assert [row["step"] for row in removed] == ["1", "2", "3"]
    assert "3 removals, AUC" in broken[1]


def test_warnings_of_a_stage_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    with plain.told():
        warnings.warn("two planes look alike", UserWarning, stacklevel=1)
        warnings.warn("not for users", DeprecationWarning, stacklevel=1)

    assert capsys.readouterr().err == "warning: two planes look alike\n"


def test_scratch_is_swept_away_even_after_an_error(tmp_path: Path) -> None:
    limits = {"workers": 1, "memory_mb": None, "executor": "serial"}

    def fail() -> None:
        with plain.scratch(tmp_path / "out.tif", limits) as place:
            assert place.executor == "serial"
            assert [path.name[:5] for path in tmp_path.iterdir()] == [".clg-"]
            raise DataError("bad")

    with pytest.raises(DataError, match="bad"):
        fail()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("annotation", "shown"), [(Literal["a", "b"], "[a|b]"), (str, "TEXT"), (int | None, "VALUE")]
)
def test_kinds_of_values_are_told(annotation: Any, shown: str) -> None:
    assert plain._metavar(annotation) == shown
