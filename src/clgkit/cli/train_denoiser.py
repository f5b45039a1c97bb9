"""``clg train-denoiser``: train a network on the movie it is to denoise."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit.cli.plain import FILES, told
from clgkit.cli.plain_images import image_options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import xarray as xr

    from clgkit.denoising.support_training import SupportProgress, SupportTrainer

SAVE_S = 30.0
SHOW_S = 0.5
SHARE = 0.5  # of the free memory that pixels may take
EPILOG = """\b
Examples:
    clg train-denoiser movie.tif
    clg train-denoiser movie.tif --output denoiser.pth --preset standard --device cuda
    clg train-denoiser movie.tif --steps 400 --blind-spot 1,3
"""


class Sides(click.ParamType[tuple[int, int]]):
    """A blind spot: one side, or two separated by a comma."""

    name = "Y,X"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the sides along y and x."""
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if len(parts) not in (1, 2) or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is no blind spot; wanted is 3, or 1,5 for y and x.", param, ctx)
        return int(parts[0]), int(parts[-1])


@click.command("train-denoiser", epilog=EPILOG)
@click.argument("movie", type=FILES)
@click.option(
    "--output", type=FILES, help="Weights to write.  [default: beside MOVIE, as NAME_denoiser.pth]"
)
@click.option(
    "--preset",
    type=click.Choice(["small", "standard", "published"]),
    default="small",
    show_default=True,
    help="Size of the network; small needs no GPU.",
)
@click.option("--steps", type=click.IntRange(1), help="Steps at most; the preset says how many.")
@click.option(
    "--blind-spot", type=Sides(), help="Pixels that are hidden; from the noise if not given."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which draws.")
@click.option("--device", default="cpu", show_default=True, help='"cpu", "cuda" or "cuda:1".')
@click.option("--restart", is_flag=True, help="Begin anew; forget an interrupted training.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@image_options()
def command(movie: Path, *, output: Path | None, device: str, restart: bool, **given: Any) -> None:
    """Train a network on MOVIE, which is then denoised with it, and write its weights.

    The network (SUPPORT) predicts every pixel from its neighbours in space and time but not from
    itself, so that it cannot learn the noise.  A tenth of the frames is held out to judge it.
    An interrupted training goes on where it was when the command is run again.
    """
    from clgkit import fsio
    from clgkit.cli.plain_images import movie_of
    from clgkit.errors import MissingDependency
    from clgkit.io.denoiserfile import check_ending, write_denoiser
    from clgkit.workspace import Workspace

    output = check_ending(output or movie.with_name(f"{movie.stem}_denoiser.pth"))
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency("Training a denoiser needs torch: pip install 'clgkit[deep]'.")
    Workspace(device=device)  # says why a device cannot be used
    partial = output.with_name(f"{output.name}.training")
    with told():
        trainer = _trainer(movie_of(movie, given, needed=False), given, device)
        click.echo(f"In this movie {trainer.spot.sentence()}.", err=True)
        if given["blind_spot"]:
            click.echo("The blind spot is the given one instead.", err=True)
        _restore(trainer, partial, restart=restart)
        _train(trainer, partial)
    from clgkit.denoising.support_net import state_arrays

    write_denoiser(output, state_arrays(trainer.network()), trainer.configuration())
    fsio.remove(partial)
    click.echo(f"Wrote {output}: {_verdict(trainer)}")


def _trainer(movie: xr.DataArray, given: dict[str, Any], device: str) -> SupportTrainer:
    from clgkit.denoising.support_recipe import support_recipe
    from clgkit.denoising.support_training import SupportTrainer
    from clgkit.errors import as_data_error

    changes = {"seed": given["seed"], "blind_spot": given["blind_spot"]}
    if given["steps"] is not None:
        changes["n_steps"] = given["steps"]
    with as_data_error("This movie cannot be learnt from"):
        recipe = support_recipe(given["preset"], **changes)
        return SupportTrainer(list(_planes(movie)), recipe=recipe, device=device)


class _Plane:
    """One plane of a movie, read part by part."""

    def __init__(self, movie: xr.DataArray, z: int) -> None:
        self.movie, self.z = movie, z
        self.shape = (movie.sizes["time"], movie.sizes["y"], movie.sizes["x"])

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        time, *place = key if isinstance(key, tuple) else (key,)
        made: npt.NDArray[np.generic] = self.movie[(time, self.z, *place)].values
        return made


def _planes(movie: xr.DataArray) -> Iterator[Any]:
    """Yield the planes; in memory if they fit well."""
    import psutil

    fits = movie.size * movie.dtype.itemsize < SHARE * psutil.virtual_memory().available
    for z in range(movie.sizes["z"]):
        yield movie[:, z].values if fits else _Plane(movie, z)


def _restore(trainer: SupportTrainer, partial: Path, *, restart: bool) -> None:
    """Go on with an interrupted training, if there is one."""
    from clgkit import fsio
    from clgkit.errors import DataError

    if restart:
        fsio.remove(partial)
    if not partial.exists():
        return
    try:
        trainer.restore(partial.read_bytes())
    except ValueError as error:
        raise DataError(
            f"{partial} is left of another training or damaged: {error}. Add --restart to "
            "forget it."
        ) from error
    click.echo(f"Going on after step {trainer.step} of {trainer.recipe.n_steps}.", err=True)


def _train(trainer: SupportTrainer, partial: Path) -> None:
    """Train to the end, and leave behind what is needed to go on, twice a minute."""
    from clgkit import fsio
    from clgkit.errors import as_data_error

    live = sys.stderr.isatty()
    saved = shown = time.monotonic()
    with as_data_error("This training was given up"):
        for progress in trainer.run():
            now = time.monotonic()
            if progress.held_out is not None:
                click.echo(("\x1b[2K" if live else "") + _line(progress), err=True)
            elif live and now - shown > SHOW_S:
                shown = now
                click.echo(f"\x1b[2K{_line(progress)}\r", nl=False, err=True)
            if now - saved > SAVE_S:
                saved = now
                fsio.write_bytes(partial, trainer.state(), durable=True)


def _line(progress: SupportProgress) -> str:
    from clgkit.cli.console import duration

    text = f"  step {progress.step} of {progress.n_steps}: loss {progress.loss:.4f}"
    if progress.held_out is not None:
        text += f", held-out frames {progress.held_out.loss:.4f}"
        text += " (best)" if progress.is_best else ""
    return f"{text}, {duration(progress.left_s)} left" if progress.left_s else text


def _verdict(trainer: SupportTrainer) -> str:
    best = trainer.best
    text = f"best after {best['step']} of {trainer.step} steps, loss {best['loss']:.4f} on held-out"
    return f"{text} frames; {max(best['passed'], 0):.0%} of noise put on a frame passes through."
