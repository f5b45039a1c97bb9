"""clg denoise: a movie in, a movie, factors or a comparison out."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from clgkit.cli import entry, plain_denoise
from clgkit.cli.npz import write_npz
from clgkit.denoising import denoise_gaussian, denoise_lowrank
from clgkit.errors import ClgError, DataError, SettingsError
from tests.unit.denoising_scene import dim_plane

RESOURCES = ("--workers", "1")


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.npy"
    np.save(path, frames())
    return path


def frames() -> np.ndarray:
    return dim_plane().noisy[:60, :32, :32]


def clg(*words: Any) -> Result:
    command = entry.load("denoise")
    return CliRunner().invoke(command, [*map(str, words), *RESOURCES])


def done(*words: Any) -> str:
    result = clg(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def failed(*words: Any) -> ClgError:
    result = clg(*words)
    assert isinstance(result.exception, ClgError), (result.output, result.exception)
    return result.exception


def test_a_movie_is_denoised_and_its_numbers_are_told(movie: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.tif"

    said = done(movie, output, "--axes", "tyx")

    wanted = denoise_lowrank(frames()).denoised
    np.testing.assert_array_equal(np.squeeze(tifffile.imread(output)), wanted)
    assert f"Wrote {output}." in said
    assert "plane 0: held-out error 0." in said
    assert "peak kept 0." in said or "peak kept 1" in said


def test_factors_make_the_movie_again(movie: Path, tmp_path: Path) -> None:
    output = tmp_path / "factors.npz"

    done(movie, output, "--axes", "tyx", "--store", "factors")

    with np.load(output) as file:
        parts = dict(file)
    rebuilt = np.repeat(parts["mean"], 60, axis=0).astype(np.float64)
    rows, columns = parts["first_row"], parts["first_column"]
    for y, x in np.ndindex(len(rows), len(columns)):
        row, column = rows[y], columns[x]
        footprints, courses = parts["footprints"][0, y, x], parts["time_courses"][:, 0, y, x]
        rebuilt[:, row : row + 16, column : column + 16] += np.einsum(
            "tk,kyx->tyx", courses, footprints
        )
    np.testing.assert_allclose(rebuilt, denoise_lowrank(frames()).denoised, rtol=1e-5)
    assert parts["n_components"].max() == parts["time_courses"].shape[-1]


def test_methods_are_ranked_in_a_table(movie: Path, tmp_path: Path) -> None:
    output = tmp_path / "methods.csv"

    said = done(movie, output, "--axes", "tyx", "--compare")

    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {"none", "gaussian", "lowrank", "mean image"} <= {row["method"] for row in rows}
    best = rows[0]["method"]
    assert f"{best} is the best by both errors together" in said
    assert all(row["method"] in said for row in rows)
    assert float(rows[0]["heldout_excess"]) < 1


def test_settings_reach_the_stage(movie: Path, tmp_path: Path) -> None:
    done(movie, tmp_path / "a.npy", "--axes", "tyx", "--smooth", "--no-weak-components")

    wanted = denoise_lowrank(frames(), smooth=True, weak=False).denoised
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy")[:, 0], wanted)


def test_bad_frames_come_from_the_file_of_shifts(movie: Path, tmp_path: Path) -> None:
    marks = np.zeros((60, 1), np.uint8)
    marks[7] = 3
    shifts = tmp_path / "movie_shifts.npz"
    write_npz(
        shifts,
        patch_shifts_px=np.zeros((60, 1, 1, 1, 2), np.float32),
        patch_y_px=np.array([16.0]),
        patch_x_px=np.array([16.0]),
        line_offset_px=np.array(0.0),
        bad_frames=marks,
        frame_shape_px=np.array([32, 32]),
        lost_planes=np.zeros(0, np.int64),
        why_lost=np.zeros(0, "U1"),
    )

    done(
        movie, tmp_path / "out.npy", "--axes", "tyx", "--shifts", shifts, "--bad-frames", "blank"
    )  # fmt: skip

    missing = np.isnan(np.load(tmp_path / "out.npy")).all(axis=(1, 2, 3))
    assert np.flatnonzero(missing).tolist() == [7]


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("out.png", (), "images are written as .tif or .npy"),
        ("out.tif", ("--store", "factors"), "factors are written as .npz"),
        ("out.tif", ("--compare",), "the comparison is written as .csv"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_before_the_work(
    name: str, words: tuple[str, ...], sentence: str, movie: Path, tmp_path: Path
) -> None:
    error = failed(movie, tmp_path / name, "--axes", "tyx", *words)

    assert isinstance(error, DataError)
    assert sentence in error.message
    assert not (tmp_path / name).exists()


def test_the_network_is_asked_for(movie: Path, tmp_path: Path) -> None:
    error = failed(movie, tmp_path / "o.tif", "--axes", "tyx", "--method", "support")

    assert isinstance(error, SettingsError)
    assert "--weights" in error.message


def test_weights_that_are_not_there_are_told(movie: Path, tmp_path: Path) -> None:
    words = (movie, tmp_path / "o.tif", "--axes", "tyx", "--method", "support")

    error = failed(*words, "--weights", tmp_path / "none.pth")

    assert error.code == "E_PATH"


def test_a_trained_network_is_run(movie: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from clgkit.denoising.support_layout import SupportLayout
    from clgkit.denoising.support_net import new_network, state_arrays
    from clgkit.io.denoiserfile import write_denoiser

    layout = SupportLayout(n_frames=5, widths=(4, 8), channels=4, depths=(3, 1))
    weights = tmp_path / "small.pth"
    write_denoiser(weights, state_arrays(new_network(layout)), {"layout": layout.as_dict()})

    done(
        movie, tmp_path / "out.npy", "--axes", "tyx", "--method", "support", "--weights", weights
    )  # fmt: skip

    made = np.load(tmp_path / "out.npy")
    assert made.shape == (60, 1, 32, 32)
    assert np.isfinite(made).all()


def test_a_short_movie_is_refused_in_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", frames()[:5])

    error = failed(tmp_path / "short.npy", tmp_path / "out.tif", "--axes", "tyx")

    assert "5 good frames; denoising needs at least 8 frames" in error.message


def test_the_numbers_of_a_plane_are_one_line() -> None:
    known = {
        "plane": 3, "heldout_excess": 0.02114, "correlation_rms": 0.5, "peak": 0.98,
        "residual_with_result": None,
    }  # fmt: skip

    line = plain_denoise._told(known)

    assert line == (
        "plane 3: held-out error 0.0211, correlation error 0.5, removed signal -, peak kept 0.98"
    )


def test_two_planes_are_told_of_in_two_lines(tmp_path: Path) -> None:
    both = np.stack([frames(), frames()[::-1]], axis=1)
    np.save(tmp_path / "two.npy", both)

    said = done(
        tmp_path / "two.npy", tmp_path / "out.npy", "--axes", "tzyx", "--method", "gaussian"
    )

    assert [line.partition(":")[0] for line in said.splitlines()[1:]] == ["plane 0", "plane 1"]
    made = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(made[:, 0], denoise_gaussian(both[:, 0]))
    np.testing.assert_array_equal(made[:, 1], denoise_gaussian(both[:, 1]))


def test_lost_planes_are_told_and_the_others_are_written(tmp_path: Path) -> None:
    both = np.stack([np.full_like(frames(), np.nan), frames()], axis=1)
    np.save(tmp_path / "two.npy", both)

    said = done(tmp_path / "two.npy", tmp_path / "out.npy", "--axes", "tzyx")

    assert "warning: plane 0 was left out" in said
    assert "only 0 pairs of neighbouring frames are good" in said
    made = np.load(tmp_path / "out.npy")
    assert np.isnan(made[:, 0]).all()
    np.testing.assert_array_equal(made[:, 1], denoise_lowrank(frames()).denoised)


def test_integers_of_a_camera_become_floats(tmp_path: Path) -> None:
    counts = (frames() * 100).clip(0, 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "counts.tif", counts)

    done(tmp_path / "counts.tif", tmp_path / "out.tif", "--axes", "tyx", "--store", "pixels")

    made = np.squeeze(tifffile.imread(tmp_path / "out.tif"))
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, denoise_lowrank(counts).denoised)


def test_an_averaged_movie_is_warned_of(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(100, 3, (80, 24, 24)).astype(np.float32)
    np.save(tmp_path / "averaged.npy", (noise[1:] + noise[:-1]) / 2)

    said = done(tmp_path / "averaged.npy", tmp_path / "out.npy", "--axes", "tyx")

    assert "warning: planes 0 seem to be averaged over time or denoised already" in said


def test_a_setting_that_is_none_is_refused_by_name(movie: Path, tmp_path: Path) -> None:
    error = failed(movie, tmp_path / "o.tif", "--axes", "tyx", "--fit-frames", "7")

    assert isinstance(error, SettingsError)
    assert "fit_frames = 7" in error.message
