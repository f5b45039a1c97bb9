"""``clg train-denoiser``: from a movie to a file of weights, interrupted or not."""

import importlib.util
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="a denoiser is trained with torch")

from clgkit.cli import train_denoiser  # noqa: E402
from clgkit.cli.train_denoiser import Sides, command  # noqa: E402
from clgkit.denoising import support_recipe, support_training  # noqa: E402
from clgkit.denoising.support_net import build_network  # noqa: E402
from clgkit.denoising.support_training import SupportTrainer  # noqa: E402
from clgkit.errors import ClgError, DataError, MissingDependency, SettingsError  # noqa: E402
from clgkit.io.denoiserfile import read_denoiser  # noqa: E402
from tests.unit.denoiser_scene import make_movie, tiny_recipe  # noqa: E402


@pytest.fixture
def movie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A movie of two planes; presets are tiny."""
    path = tmp_path / "movie.tif"
    planes = np.stack([make_movie(seed=0), make_movie(seed=1)], axis=1)
    tifffile.imwrite(path, planes.astype(np.uint16))
    monkeypatch.setattr(
        support_recipe, "support_recipe", lambda _, **changes: tiny_recipe(**changes)
    )
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(command, [*map(str, words), "--axes", "tzyx"])


def refused(result: Result) -> ClgError:
    assert isinstance(result.exception, ClgError), result.output
    return result.exception


def test_a_movie_becomes_weights(movie: Path, tmp_path: Path) -> None:
    output = tmp_path / "denoiser.pth"

    done = call(movie, "--output", output)

    assert done.exit_code == 0, done.output
    state, said = read_denoiser(output)
    assert build_network(state, sizes=said["layout"]).layout.n_frames == 3
    assert "blind spot of 1 x 1 pixels" in done.output
    assert "step 6 of 6: loss" in done.output
    assert "held-out frames" in done.output
    assert f"Wrote {output}: best after" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["denoiser.pth", "movie.tif"]


def test_the_weights_lie_beside_the_movie_unless_told_otherwise(movie: Path) -> None:
    assert call(movie, "--steps", 2).exit_code == 0

    assert read_denoiser(movie.with_name("movie_denoiser.pth")).configuration["n_steps"] == 2


def test_steps_seed_and_spot_are_taken(movie: Path, tmp_path: Path) -> None:
    output = tmp_path / "d.pth"

    done = call(movie, "--output", output, "--steps", 3, "--seed", 5, "--blind-spot", "1,5")

    assert "The blind spot is the given one instead." in done.output
    recipe = read_denoiser(output).configuration["recipe"]
    assert (recipe["n_steps"], recipe["seed"], recipe["blind_spot"]) == (3, 5, [1, 5])


class Killed(BaseException):
    """As a signal ends the process."""


def interrupted(movie: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, save after every step, and be killed after the third."""
    step = SupportTrainer._one_step

    def stop(trainer: SupportTrainer) -> float:
        if trainer.step == 3:
            raise Killed
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(train_denoiser, "SAVE_S", -1)
        patch.setattr(support_training.SupportTrainer, "_one_step", stop)
        with pytest.raises(Killed):
            call(movie, "--output", output)


def test_an_interrupted_training_goes_on(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = tmp_path / "whole.pth", tmp_path / "resumed.pth"
    call(movie, "--output", whole)
    interrupted(movie, resumed, monkeypatch)
    assert not resumed.exists()

    done = call(movie, "--output", resumed)

    assert "Going on after step 3 of 6." in done.output
    one, other = read_denoiser(whole), read_denoiser(resumed)
    assert one.configuration == other.configuration
    assert all(np.array_equal(one.state[name], other.state[name]) for name in one.state)
    assert not (tmp_path / "resumed.pth.training").exists()


def test_what_another_training_left_is_refused_or_forgotten(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "d.pth"
    interrupted(movie, output, monkeypatch)

    error = refused(call(movie, "--output", output, "--seed", 1))

    assert isinstance(error, DataError)
    assert "Add --restart to forget it." in error.message
    done = call(movie, "--output", output, "--seed", 1, "--restart")
    assert done.exit_code == 0
    assert "Going on" not in done.output


def test_what_cannot_work_is_refused_before_the_training(movie: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.tif"
    tifffile.imwrite(short, np.zeros((3, 1, 20, 20), np.uint16))
    still = tmp_path / "still.tif"
    tifffile.imwrite(still, np.full((20, 1, 20, 20), 9, np.uint16))
    cases: list[tuple[tuple[object, ...], type[ClgError], str]] = [
        ((movie, "--output", tmp_path / "d.h5"), DataError, "written as .pth"),
        ((movie, "--output", tmp_path / "no" / "d.pth"), DataError, "no folder"),
        ((movie, "--device", "tpu"), SettingsError, "'tpu' is not known"),
        ((tmp_path / "none.tif",), DataError, "none.tif"),
        ((short,), DataError, "has 3 frames, the network takes 3"),
        ((still,), DataError, "no noise to learn"),
        ((movie, "--blind-spot", "2"), DataError, "two odd sides"),
    ]

    for words, kind, text in cases:
        error = refused(call(*words))
        assert isinstance(error, kind)
        assert text in error.message
    assert not list(tmp_path.glob("*.pth*"))


def test_a_copied_input_ends_with_a_sentence(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = support_training.HeldOut(0.1, 0.9, 0.9)
    monkeypatch.setattr(SupportTrainer, "look", lambda _: seen)

    error = refused(call(movie))

    assert "This training was given up: the network learns to copy its input" in error.message
    assert not list(tmp_path.glob("*.pth*"))


def test_without_torch_it_says_what_to_install(
    movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    error = refused(call(movie))

    assert isinstance(error, MissingDependency)
    assert "pip install 'clgkit[deep]'" in error.message


def test_a_movie_that_does_not_fit_is_read_part_by_part(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(movie, "--output", tmp_path / "memory.pth")
    monkeypatch.setattr(train_denoiser, "SHARE", 0)

    done = call(movie, "--output", tmp_path / "disk.pth")

    assert done.exit_code == 0, done.output
    one, other = (read_denoiser(tmp_path / f"{name}.pth").state for name in ("memory", "disk"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_movie_of_one_plane_needs_no_axis_for_it(movie: Path, tmp_path: Path) -> None:
    plane = tmp_path / "plane.tif"
    tifffile.imwrite(plane, tifffile.imread(movie)[:, 0])

    done = CliRunner().invoke(command, [str(plane), "--axes", "tyx", "--steps", "2"])

    assert done.exit_code == 0, done.output
    assert (tmp_path / "plane_denoiser.pth").exists()


def test_a_terminal_shows_how_far_it_is_all_the_time(
    movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stderr = Terminal()

    monkeypatch.setattr(train_denoiser, "sys", System)
    monkeypatch.setattr(train_denoiser, "SHOW_S", -1)

    told = call(movie).output

    assert "step 1 of 6: loss" in told
    assert "s left\r" in told
    assert told.count("held-out frames") == 3 + 1  # looks, and the end


def test_a_line_says_what_is_known() -> None:
    seen = support_training.HeldOut(0.5, 0.0, 0.0)
    progress = support_training.SupportProgress(20, 100, 0.25, seen, is_best=True, left_s=200.0)

    assert train_denoiser._line(progress) == (
        "  step 20 of 100: loss 0.2500, held-out frames 0.5000 (best), 3 min left"
    )
    assert train_denoiser._line(progress._replace(held_out=None, left_s=0)) == (
        "  step 20 of 100: loss 0.2500"
    )


@pytest.mark.parametrize(
    ("text", "sides"), [("3", (3, 3)), ("1,5", (1, 5)), (" 3, 1", (3, 1)), ((1, 3), (1, 3))]
)
def test_a_spot_is_one_side_or_two(text: Any, sides: tuple[int, int]) -> None:
    assert Sides().convert(text, None, None) == sides


@pytest.mark.parametrize("text", ["", "a", "1,2,3", "-1", "1.5", "3,"])
def test_other_spots_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no blind spot"):
        Sides().convert(text, None, None)


def test_the_help_explains_argument_and_options() -> None:
    told = CliRunner().invoke(command, ["--help"]).output

    assert "MOVIE" in told
    assert "clg train-denoiser movie.tif" in told
    assert "held out" in told
