"""What the commands that train have in common: noise is refused, a stopped training goes on."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from clgkit import fsio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

Told = TypeVar("Told")
Told_co = TypeVar("Told_co", covariant=True)


class Trainer(Protocol[Told_co]):
    """A training that can be stopped and continued."""

    def run(self) -> Iterator[Told_co]:
        """Train, and say now and then how far it is."""

    def state(self) -> bytes:
        """Return all that is needed to continue."""

    def restore(self, packed: bytes) -> None:
        """Continue from what `state` returned; ValueError if that cannot be."""


def resume(trainer: Trainer[Any], partial: Path, where: Callable[[], str]) -> None:
    """Go on where an interrupted training stopped; another one's state is told and left.

    Parameters
    ----------
    trainer
        One that has not begun.
    partial
        File of :func:`train`; it need not be there.
    where
        Says after what the training goes on.
    """
    if not partial.exists():
        return
    try:
        trainer.restore(partial.read_bytes())
    except ValueError as error:
        click.echo(f"starting anew: {error}", err=True)
    else:
        click.echo(f"going on after {where()}")


def train(
    trainer: Trainer[Told],
    partial: Path,
    *,
    every_s: float,
    always: Callable[[Told], bool] = lambda _: False,
) -> Iterator[Told]:
    """Yield what a training says, and save after it what is needed to go on.

    Parameters
    ----------
    trainer
        Begun or not.
    partial
        File that :func:`resume` reads.
    every_s
        Seconds between two savings; the first report is always saved.
    always
        Which reports are saved in any case.

    Raises
    ------
    DataError
        If the training gives up.
    """
    from clgkit.errors import as_data_error

    saved = -math.inf
    with as_data_error("training"):
        for told in trainer.run():
            yield told
            if always(told) or time.monotonic() - saved > every_s:
                fsio.write_bytes(partial, trainer.state(), durable=True)
                saved = time.monotonic()


def refuse_noise(plane: npt.NDArray[np.generic]) -> None:
    """Refuse a plane whose neighbouring pixels have nothing in common.

    Raises
    ------
    ValueError
        One sentence.
    """
    from clgkit.registration import NOISE_LEVEL, neighbour_correlation

    agreement = neighbour_correlation(plane)
    if agreement < NOISE_LEVEL:
        raise ValueError(
            f"it looks like noise: neighbouring pixels correlate by {agreement:.3f}, as those do "
            "that wrapped round in 8 bits; look at it, and use --ignore-noise if it is right"
        )


def sha256(data: bytes) -> str:
    """Return the hash that is noted beside a network."""
    return hashlib.sha256(data).hexdigest()
