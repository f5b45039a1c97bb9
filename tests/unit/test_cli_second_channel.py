"""Shifts in a file and in a run move a second channel; a fish has one if it is asked for."""

import json
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import io
from clgkit.cli import demo, fishfiles, shiftfile
from clgkit.cli.npz import read_npz, write_npz
from clgkit.errors import DataError
from clgkit.pipeline import settings
from clgkit.pipeline.plan import stages_of
from clgkit.pipeline.store import Store
from clgkit.simulate import Fish, preset
from clgkit.workspace import failed_planes
from tests.pipeline.tiny import compute

Clg = Callable[..., tuple[int, str, str]]
FISH = preset("tiny", shape_px=(24, 96, 96), n_neurons=40, n_planes=2, n_frames=16)
CHANGES = ("--change", "shape_px=[24,96,96]", "--change", "n_neurons=40", "--change", "n_planes=2",
           "--change", "n_frames=16")  # fmt: skip
MOVIE = ("--axes", "tzyx", "--voxel-um", "7,1,1", "--rate-hz", "2")


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with green.npy and red.npy of one fish."""
    folder = tmp_path_factory.mktemp("channels")
    fish = Fish(FISH)
    for name, block in (("green", fish.movie_block), ("red", fish.nuclear_block)):
        np.save(folder / f"{name}.npy", np.stack([block(p, 0, 16) for p in range(2)], axis=1))
    return folder


@pytest.fixture
def shifts(clg: Clg, channels: Path, tmp_path: Path) -> Path:
    code, _, err = clg("correct-motion", channels / "green.npy", tmp_path / "green_out.npy",
                       "--max-shift-px", "8", *MOVIE)  # fmt: skip
    assert code == 0, err
    return tmp_path / "green_out_shifts.npz"


def test_shifts_applied_again_give_the_first_output_bit_by_bit(
    clg: Clg, channels: Path, shifts: Path, tmp_path: Path
) -> None:
    code, told, err = clg("apply-motion", channels / "green.npy", tmp_path / "again.npy",
                          "--shifts", shifts, *MOVIE)  # fmt: skip

    assert (code, told, err) == (0, f"Wrote {tmp_path / 'again.npy'}.\n", "")
    again = (tmp_path / "again.npy").read_bytes()
    assert again == (tmp_path / "green_out.npy").read_bytes()


def test_the_other_channel_leaves_movie_and_template(
    clg: Clg, channels: Path, shifts: Path, tmp_path: Path
) -> None:
    code, _, err = clg("apply-motion", channels / "red.npy", tmp_path / "out.tif", "--shifts",
                       shifts, "--template-file", tmp_path / "mean.tif", *MOVIE)  # fmt: skip

    assert (code, err) == (0, "")
    made = io.as_movie(io.open_image(tmp_path / "out.tif"))
    assert (made.shape, made.dtype) == ((16, 2, 48, 48), np.float32)
    assert io.open_image(tmp_path / "mean.tif").shape == (2, 48, 48)


def test_the_shifts_file_holds_what_was_found(shifts: Path) -> None:
    motion = shiftfile.read_shifts(shifts)

    assert motion.shape_px == (48, 48)
    assert motion.patch_shifts.shape[:2] == motion.bad_frames.shape == (16, 2)
    assert motion.patch_shifts.dtype == np.float32
    assert set(motion.patch_shifts.coords) == {"patch_y", "patch_x"}
    assert motion.summary["line_offset_px"] == 0.0
    assert failed_planes(motion.patch_shifts) == {}


class Made:
    """The parts of a motion correction that are kept."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.patch_shifts = xr.DataArray(
            rng.normal(size=(3, 2, 1, 2, 2)).astype(np.float32),
            dims=("time", "z", "patch_y", "patch_x", "axis"),
            coords={"patch_y": [3.5], "patch_x": [2.0, 5.0]},
            attrs={"failed_planes": {"1": "it is blank, é"}},
        )
        self.bad_frames = xr.DataArray(np.eye(3, 2, dtype=np.uint8), dims=("time", "z"))
        self.corrected = xr.DataArray(np.zeros((3, 2, 8, 7)), dims=("time", "z", "y", "x"))
        self.n_valid = xr.DataArray(np.full((2, 8, 7), 3, np.uint32), dims=("z", "y", "x"))
        self.summary = {"line_offset_px": -0.123456789}


def test_a_shifts_file_gives_back_every_bit_and_the_same_bytes(tmp_path: Path) -> None:
    made: Any = Made()
    shiftfile.write_shifts(tmp_path / "a.npz", made)
    shiftfile.write_shifts(tmp_path / "b.npz", made)

    motion = shiftfile.read_shifts(tmp_path / "a.npz")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    xr.testing.assert_equal(motion.patch_shifts, made.patch_shifts)
    xr.testing.assert_equal(motion.bad_frames, made.bad_frames)
    assert motion.summary == made.summary
    assert motion.shape_px == (8, 7)
    assert failed_planes(motion.patch_shifts) == {1: "it is blank, é"}


def spoiled(path: Path, **changes: Any) -> Path:
    made: Any = Made()
    shiftfile.write_shifts(path, made)
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    kept = {name: value for name, value in (parts | changes).items() if value is not None}
    write_npz(path, **kept)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch_y_px": None}, "x.npz does not hold the arrays patch_shifts_px, patch_y_px"),
        ({"patch_y_px": np.arange(3.0)}, "The arrays of x.npz do not fit together"),
        ({"bad_frames": np.zeros(3)}, "do not fit together"),
        ({"why_lost": np.array([], np.str_)}, "do not fit together"),
        ({"frame_shape_px": np.array([8])}, "do not fit together"),
        ({"line_offset_px": np.array("much")}, "do not fit together"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = spoiled(tmp_path / "x.npz", **changes)

    with pytest.raises(DataError, match=words) as caught:
        shiftfile.read_shifts(path)

    assert "clg correct-motion" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"frame,plane\n0,0\n", b"PK\x03\x04 torn"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shifts.csv").write_bytes(content)

    with pytest.raises(DataError, match=r"shifts\.csv does not hold the arrays"):
        shiftfile.read_shifts(tmp_path / "shifts.csv")


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    path = spoiled(tmp_path / "x.npz")
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("bad_frames.npy").header_offset
    content = bytearray(path.read_bytes())
    content[at + 50 : at + 60] = b"\xff" * 10
    path.write_bytes(content)

    with pytest.raises(DataError, match="or is damaged"):
        read_npz(path, ("bad_frames",), "")


@pytest.mark.parametrize("words", [(), ("--shifts", "s.npz", "--run", "fish")])
def test_one_source_of_the_motion_must_be_named(
    clg: Clg, channels: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, _, err = clg("apply-motion", channels / "red.npy", tmp_path / "out.npy", *words)

    assert (code, "with --shifts FILE or with --run FOLDER" in err) == (2, True)


def test_a_movie_of_another_size_is_refused(
    clg: Clg, channels: Path, shifts: Path, tmp_path: Path
) -> None:
    red = np.load(channels / "red.npy")
    for name, pixels, words in (
        ("small", red[:, :, ::2, ::2], "24 x 24 pixels, those whose motion was corrected 48 x 48"),
        ("short", red[:9], "The movie has 9 frames, but there are shifts for 16"),
        ("flat", red[:, :1], "The movie has 1 planes, but there are shifts for 2"),
    ):
        np.save(tmp_path / f"{name}.npy", pixels)
        code, _, err = clg("apply-motion", tmp_path / f"{name}.npy", tmp_path / "out.npy",
                           "--shifts", shifts, *MOVIE)  # fmt: skip
        assert (code, words in err) == (3, True), err


def test_the_shifts_of_a_run_are_taken(clg: Clg, fish: Path, tmp_path: Path) -> None:
    assert compute(fish, until="correct_motion").computed == ["correct_motion"]

    code, _, err = clg("apply-motion", fish / "raw/function", tmp_path / "out.npy",
                       "--run", fish, "--rate-hz", "2")  # fmt: skip

    assert code == 0, err
    corrected = Store(fish).result("correct_motion").array("corrected").values
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), corrected)


def test_a_run_without_motion_correction_is_exit_6(clg: Clg, fish: Path, tmp_path: Path) -> None:
    code, _, err = clg("apply-motion", fish / "raw/function", tmp_path / "out.npy", "--run", fish)

    assert (code, "Stage correct_motion has no finished result" in err) == (6, True)


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_fish_has_a_second_channel_if_it_is_asked_for(clg: Clg, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = ("--preset", "tiny", *CHANGES)
    assert clg("simulate", one, *words)[0] == 0
    assert clg("simulate", two, *words, "--nuclear")[0] == 0

    added = {"raw/nuclear/z_01.tif", "raw/nuclear/z_02.tif"}
    assert files_below(two) - files_below(one) == added
    for name in files_below(one) - {"simulation.json", "run.toml"}:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    said = [tomllib.loads((folder / "run.toml").read_text()) for folder in (one, two)]
    assert [written["nuclear"]["path"] for written in said] == ["", "raw/nuclear"]
    image = io.open_image(two / "raw/nuclear")
    np.testing.assert_array_equal(
        io.as_movie(image, rate_hz=2, voxel_um=(7, 1, 1)).values[3, 1],
        Fish(FISH).nuclear_block(1, 3, 4)[0],
    )


def test_a_second_channel_can_be_asked_for_later(clg: Clg, tmp_path: Path) -> None:
    words = ("simulate", tmp_path / "a", "--preset", "tiny", *CHANGES)
    assert "Wrote" in clg(*words)[1]
    assert "holds this fish already" in clg(*words)[1]

    code, told, _ = clg(*words, "--nuclear")

    assert (code, "Wrote" in told) == (0, True)
    assert '[nuclear] it has to say path = "raw/nuclear"' in told
    assert fishfiles.is_written(tmp_path / "a", FISH, nuclear=True)
    assert fishfiles.is_written(tmp_path / "a", FISH)
    (tmp_path / "a/raw/nuclear/z_02.tif").unlink()
    assert not fishfiles.is_written(tmp_path / "a", FISH, nuclear=True)


def test_another_fish_in_the_folder_does_not_own_the_old_channel(tmp_path: Path) -> None:
    other = preset("tiny", shape_px=(24, 48, 48), n_neurons=10, n_planes=2, n_frames=3)
    assert fishfiles.write_fish(tmp_path, FISH, lambda *_: None, nuclear=True)
    assert fishfiles.write_fish(tmp_path, other, lambda *_: None)

    receipt = json.loads((tmp_path / fishfiles.RECEIPT).read_text())
    assert not [name for name in receipt["files"] if "nuclear" in name]
    assert not fishfiles.is_written(tmp_path, other, nuclear=True)


def test_the_settings_of_the_demo_name_the_channel_that_is_there(tmp_path: Path) -> None:
    for nuclear, path in ((False, ""), (True, "raw/nuclear")):
        fishfiles.write_fish(tmp_path, FISH, lambda *_: None, nuclear=nuclear)
        demo.write_settings(tmp_path, FISH)

        loaded = settings.load(tmp_path)
        assert loaded["nuclear"].path == path
        assert not loaded.asks_for("apply_motion")
        assert ("apply_motion" in stages_of(loaded)) == nuclear


def test_a_fish_of_one_plane_has_settings() -> None:
    values = fishfiles.run_values(preset("tiny", n_planes=1))

    assert values["function"]["voxel_um"] == (7, 1, 1)
    assert "nuclear" not in values
