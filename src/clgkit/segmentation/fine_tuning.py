"""Adapt the network of `segment_network` to other tissue.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from clgkit.segmentation.network import NucleusNetwork
from clgkit.segmentation.training import (
    CROP,
    WEIGHT_DECAY,
    Progress,
    held_out_loss,
    learn,
    rate_at,
)
from clgkit.segmentation.training_graph import (
    channels_last,
    pack_state,
    read_onnx,
    restore_state,
    unpack_state,
    write_onnx,
)
from clgkit.segmentation.training_samples import LabelledStack, draw_batch

__all__ = ["FineRecipe", "FineTuner", "fine_tune", "use_one_thread"]

PEAK_RATE = 2e-3
BEST = "best/"


@dataclass(frozen=True)
class FineRecipe:
    """Settings of a fine-tuning.

    Parameters
    ----------
    seed
        Chooses the crops.
    n_steps
        Steps of 8 crops at most; 300 take about a minute of one processor.
    peak_rate
        Highest learning rate.
    crop_px
        Side of a crop, nodes of the grid; a multiple of 4.
    check_every
        Steps between two looks at the held-out stacks.
    patience
        Stop after so many looks without gain; None: never.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    seed: int = 0
    n_steps: int = 300
    peak_rate: float = PEAK_RATE
    crop_px: int = CROP
    check_every: int = 25
    patience: int | None = 6

    def __post_init__(self) -> None:
        rules = (
            ("the seed is at least 0", self.seed >= 0),
            ("n_steps and check_every are at least 1", min(self.n_steps, self.check_every) >= 1),
            ("the learning rate lies above 0 and up to 0.1", 0 < self.peak_rate <= 0.1),
            ("crop_px is a multiple of 4", self.crop_px >= 8 and self.crop_px % 4 == 0),
            ("patience is at least 1", self.patience is None or self.patience >= 1),
        )
        broken = [text for text, kept in rules if not kept]
        if broken:
            raise ValueError(f"{'; '.join(broken)}; found {self}")

    def numbers(self) -> list[float]:
        """Return what a continued training must agree on."""
        return [float(value or 0) for value in asdict(self).values()]


class FineTuner:
    """A fine-tuning that judges itself, and can be stopped and continued.

    Parameters
    ----------
    network
        Where it begins.
    stacks
        From `label_stack`: labelled volumes, or volumes with a few labelled slices.
    held_out
        What is only looked at: the weights that answer it best are kept.  Without any the last
        weights are.
    recipe
        Settings.

    Raises
    ------
    ValueError
        If there is nothing to learn from, or the network is not one of this package.

    Notes
    -----
    The statistics of BatchNorm stay: a few slices would replace them by worse ones.  From single
    slices the distance in the plane is learnt in place of that in space; to learn the foreground
    alone lets the seeds fade.  A small volume teaches more than as many voxels in slices.  Step k
    draws from ``(seed, k)``, so a continued training equals an uninterrupted one.
    """

    def __init__(
        self,
        network: NucleusNetwork,
        stacks: Sequence[LabelledStack],
        *,
        held_out: Sequence[LabelledStack] = (),
        recipe: FineRecipe = FineRecipe(),
    ) -> None:
        if not stacks:
            raise ValueError("there is nothing to learn from; give at least one labelled stack")
        self.stacks, self.held_out, self.recipe = list(stacks), list(held_out), recipe
        self.net = channels_last(read_onnx(network.weights)).eval()
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=recipe.peak_rate, weight_decay=WEIGHT_DECAY
        )
        self.losses: list[float] = []
        self.looks: list[tuple[int, float]] = []
        self.best: dict[str, npt.NDArray[np.float32]] = {}
        self.plan = np.array(
            [
                *recipe.numbers(),
                len(self.stacks),
                *_fingerprint(network, [*self.stacks, *self.held_out]),
            ]
        )

    @property
    def step(self) -> int:
        """Steps that are made."""
        return len(self.losses)

    @property
    def best_step(self) -> int:
        """The step whose weights are kept; 0 is the network where it began."""
        if not self.held_out or not self.looks:
            return self.step
        return min(self.looks, key=lambda look: look[1])[0]

    def is_finished(self) -> bool:
        """Return whether all steps are made, or there was no gain for too long."""
        if self.step >= self.recipe.n_steps:
            return True
        if self.recipe.patience is None or not self.held_out or not self.looks:
            return False
        return self.step - self.best_step >= self.recipe.patience * self.recipe.check_every

    def run(self, *, until: int | None = None) -> Iterator[Progress]:
        """Train, and say how far it is after every `check_every` steps.

        Parameters
        ----------
        until
            Stop after so many steps in all; None: at the end.
        """
        stop = self.recipe.n_steps if until is None else min(until, self.recipe.n_steps)
        if self.held_out and not self.looks:
            self._look()
        began, first = time.monotonic(), self.step
        while self.step < stop and not self.is_finished():
            self._one_step()
            if self.step % self.recipe.check_every and self.step != stop:
                continue
            due = self.step % self.recipe.check_every == 0 or self.step == self.recipe.n_steps
            seen = self._look() if due else math.nan
            pace = (time.monotonic() - began) / (self.step - first)
            yield Progress(
                self.step,
                self.recipe.n_steps,
                float(np.mean(self.losses[-self.recipe.check_every :])),
                seen,
                0.0 if self.is_finished() else pace * (self.recipe.n_steps - self.step),
                is_best=bool(self.held_out) and due and self.best_step == self.step,
            )

    def _one_step(self) -> None:
        rng = np.random.default_rng([self.recipe.seed, self.step])
        batch = draw_batch(self.stacks, rng, side=self.recipe.crop_px)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.peak_rate * rate_at(self.step / self.recipe.n_steps)
        loss = learn(self.net, self.optimizer, batch)
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} after {self.step} steps; give a lower learning rate than "
                f"{self.recipe.peak_rate:g}"
            )
        self.losses.append(loss)

    def _look(self) -> float:
        """Judge the present weights, and keep them if they are the best."""
        seen = held_out_loss(self.net, self.held_out, crop_px=self.recipe.crop_px)
        if not self.held_out:
            return seen
        self.looks.append((self.step, seen))
        if self.best_step == self.step:
            self.best = {
                name: tensor.numpy().copy() for name, tensor in self.net.state_dict().items()
            }
        return seen

    def state(self) -> bytes:
        """Return all that is needed to continue."""
        numbers = {
            "losses": np.array(self.losses),
            "looks": np.array(self.looks, np.float64).reshape(-1, 2),
            "plan": self.plan,
            **{BEST + name: values for name, values in self.best.items()},
        }
        return pack_state(self.net, self.optimizer, numbers)

    def restore(self, packed: bytes) -> None:
        """Continue from what :meth:`state` returned.

        Raises
        ------
        ValueError
            If it is of a training with other settings, stacks or first weights.
        """
        arrays = unpack_state(packed)
        if "plan" not in arrays or not np.array_equal(arrays["plan"], self.plan):
            raise ValueError(
                "the state is of a training with other settings, images or first weights"
            )
        restore_state(arrays, self.net, self.optimizer)
        self.losses = arrays["losses"].tolist()
        self.looks = [(int(step), float(loss)) for step, loss in arrays["looks"]]
        self.best = {
            name.removeprefix(BEST): values
            for name, values in arrays.items()
            if name.startswith(BEST)
        }

    def network(self, **notes: str) -> NucleusNetwork:
        """Return the network of the best look, or of the last step if nothing is held out."""
        net = self.net
        if self.best:
            net = channels_last(read_onnx(write_onnx(self.net)))
            net.load_state_dict({name: torch.tensor(values) for name, values in self.best.items()})
        return NucleusNetwork(
            write_onnx(net, notes={"fine_tuned_steps": f"{self.best_step}"} | notes)
        )


def fine_tune(
    network: NucleusNetwork,
    stacks: Sequence[LabelledStack],
    *,
    recipe: FineRecipe = FineRecipe(),
    report: Callable[[Progress], None] | None = None,
) -> NucleusNetwork:
    """Adapt a network to a few annotated slices or small volumes.

    Parameters
    ----------
    network, stacks, recipe
        As in `FineTuner`.
    report
        Called now and then.
    """
    tuner = FineTuner(network, stacks, recipe=recipe)
    for progress in tuner.run():
        if report is not None:
            report(progress)
    return tuner.network()


def _fingerprint(network: NucleusNetwork, stacks: Sequence[LabelledStack]) -> list[int]:
    """Return numbers that change with the first weights and with what is learnt from."""
    digest = hashlib.sha256(network.weights)
    for stack in stacks:
        for part in (stack.local, stack.whole, stack.foreground, stack.distance, stack.nodes):
            digest.update(part.tobytes())
    return list(digest.digest()[:16])


def use_one_thread() -> None:
    """Let torch use one thread from now on: on shared processors two are slower."""
    torch.set_num_threads(1)
