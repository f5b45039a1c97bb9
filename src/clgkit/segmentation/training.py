"""Train the network of `segment_network`; `fine_tuning` adapts it to other tissue.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from clgkit.segmentation.network import NucleusNetwork
from clgkit.segmentation.training_graph import (
    NucleusNet,
    channels_last,
    pack_state,
    restore_state,
    unpack_state,
    write_onnx,
)
from clgkit.segmentation.training_samples import Batch, LabelledStack, draw_batch

__all__ = ["CROP", "WEIGHT_DECAY", "Progress", "Trainer", "held_out_loss", "learn", "rate_at"]

DISTANCE_WEIGHT = 2.0
PEAK_RATE = 5e-3
WEIGHT_DECAY = 1e-4
WARM_UP = 0.2  # share of the steps
FIRST_RATE, LAST_RATE = 0.04, 1e-3  # of the peak rate
HELD_OUT_BATCHES = 12
CROP = 96


class Progress(NamedTuple):
    """How far a training is."""

    step: int
    n_steps: int
    loss: float
    """Mean over the last steps."""
    held_out: float
    """Loss on stacks that are not learnt from; NaN where there are none."""
    left_s: float
    """Time left at the present speed."""
    is_best: bool = False
    """Whether stacks that are not learnt from were never answered better."""


class Trainer:
    """A training that can be stopped and continued.

    Parameters
    ----------
    stacks
        What is learnt from.
    held_out
        What is only looked at.
    seed
        Chooses the first weights and every crop.
    n_steps
        Length of the whole training; the learning rate follows it.
    crop_px
        Side of a crop, nodes of the grid; a multiple of 4.

    Notes
    -----
    BCE of the foreground plus twice the smooth L1 of the distance, over all voxels; AdamW; one
    cycle of the learning rate.  Step k draws from ``(seed, k)``, so a continued training equals
    an uninterrupted one, and one machine gives the same weights every time.
    """

    def __init__(
        self,
        stacks: Sequence[LabelledStack],
        *,
        held_out: Sequence[LabelledStack] = (),
        seed: int = 0,
        n_steps: int = 3000,
        crop_px: int = CROP,
    ) -> None:
        if not stacks:
            raise ValueError("there is nothing to learn from; give at least one labelled stack")
        if not all(stack.solid for stack in stacks):
            raise ValueError("training needs whole volumes; use FineTuner for single slices")
        self.stacks, self.held_out = list(stacks), list(held_out)
        self.seed, self.n_steps, self.crop_px, self.step = seed, n_steps, crop_px, 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = channels_last(NucleusNet())
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY
        )
        self.losses: list[float] = []

    def run(self, *, until: int | None = None, every: int = 100) -> Iterator[Progress]:
        """Train, and say how far it is after `every` steps.

        Parameters
        ----------
        until
            Stop after so many steps in all; None: at the end.
        every
            Steps between two reports.
        """
        stop = self.n_steps if until is None else min(until, self.n_steps)
        began, first = time.monotonic(), self.step
        while self.step < stop:
            self._one_step()
            if self.step % every == 0 or self.step == stop:
                pace = (time.monotonic() - began) / (self.step - first)
                yield Progress(
                    self.step,
                    self.n_steps,
                    float(np.mean(self.losses[-every:])),
                    held_out_loss(self.net, self.held_out, crop_px=self.crop_px),
                    pace * (self.n_steps - self.step),
                )

    def _one_step(self) -> None:
        rng = np.random.default_rng([self.seed, self.step])
        batch = draw_batch(self.stacks, rng, side=self.crop_px)
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate_at(self.step / self.n_steps)
        self.net.train()
        self.losses.append(learn(self.net, self.optimizer, batch))
        self.step += 1

    def state(self) -> bytes:
        """Return all that is needed to continue."""
        numbers = {"losses": np.array(self.losses), "plan": np.array(self._plan())}
        return pack_state(self.net, self.optimizer, numbers)

    def _plan(self) -> list[int]:
        return [self.seed, self.n_steps, self.crop_px, len(self.stacks)]

    def restore(self, packed: bytes) -> None:
        """Continue from what :meth:`state` returned.

        Raises
        ------
        ValueError
            If it is of a training with another seed, length, crop or number of stacks.
        """
        arrays = unpack_state(packed)
        plan = arrays["plan"].tolist() if "plan" in arrays else None
        if plan != self._plan():
            raise ValueError(
                f"the state is of a training with seed, steps, crops and stacks {plan}, "
                f"this one has {self._plan()}; use the same or start anew"
            )
        restore_state(arrays, self.net, self.optimizer)
        self.losses = arrays["losses"].tolist()
        self.step = len(self.losses)

    def network(self, **notes: str) -> NucleusNetwork:
        """Return the network as it is now."""
        return NucleusNetwork(write_onnx(self.net, notes=notes))


def rate_at(share: float) -> float:
    """Return the learning rate over its peak after a share of the training."""
    if share < WARM_UP:
        return FIRST_RATE + (1 - FIRST_RATE) * 0.5 * (1 - math.cos(math.pi * share / WARM_UP))
    down = 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))
    return LAST_RATE + (1 - LAST_RATE) * down


def held_out_loss(
    net: NucleusNet, stacks: Sequence[LabelledStack], *, crop_px: int = CROP
) -> float:
    """Return the loss on fixed crops of stacks; NaN without stacks."""
    if not stacks:
        return math.nan
    net.eval()
    rng = np.random.default_rng(0)
    total = 0.0
    with torch.no_grad():
        for _ in range(HELD_OUT_BATCHES):
            total += float(_loss(net, draw_batch(stacks, rng, side=crop_px, augment=False)))
    return total / HELD_OUT_BATCHES


def learn(net: NucleusNet, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Make one step and return the loss before it."""
    loss = _loss(net, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _loss(net: NucleusNet, batch: Batch) -> Any:
    channels = torch.from_numpy(batch.channels).to(memory_format=torch.channels_last)
    answer = net(channels)
    foreground = nn.functional.binary_cross_entropy_with_logits(
        answer[:, 0], torch.from_numpy(np.ascontiguousarray(batch.foreground))
    )
    wanted = torch.from_numpy(np.ascontiguousarray(batch.distance))
    return foreground + DISTANCE_WEIGHT * nn.functional.smooth_l1_loss(answer[:, 1], wanted)
