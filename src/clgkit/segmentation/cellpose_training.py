"""Train a Cellpose network on annotated slices, from random or from given weights.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError(
        "training a Cellpose network needs torch: pip install clgkit[deep]", name=error.name
    ) from error

from clgkit.segmentation.cellpose import CellposeOptions, masks_of_maps
from clgkit.segmentation.cellpose_net import CellposeNet, channels_last, forward, state_arrays
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_recipe import CellposeRecipe, learning_rates
from clgkit.segmentation.cellpose_samples import (
    LEAST_DIAMETER_PX,
    AnnotatedSlice,
    Draws,
    draw,
    draw_crop,
    mean_diameter_px,
    pixel_weights,
)
from clgkit.segmentation.cellpose_state import CellposeLayout
from clgkit.segmentation.cellpose_tiles import resize_bilinear, run_tiled, scaled_shape
from clgkit.segmentation.score import score_labels

__all__ = [
    "CellposeProgress",
    "CellposeTrainer",
    "cellpose_loss",
    "pack_weights",
    "split_held_out",
    "use_threads",
]

Float32: TypeAlias = npt.NDArray[np.float32]

MIDDLE = Draws(0, 0, 0.5, 0.5, 0.5)  # a crop that is neither turned nor scaled at random
FEWEST_TO_SPLIT = 4
FLOW_SCALE = 5.0
IOU = 0.5


class CellposeProgress(NamedTuple):
    """How far a training is."""

    epoch: int
    n_epochs: int
    loss: float
    """Mean over the last epoch."""
    held_out_loss: float
    """On slices that are not learnt from; NaN where it was not measured."""
    held_out_ap: float
    """AP at IoU 0.5 of their masks; NaN where it was not measured."""
    is_best: bool
    """Whether the held-out slices were never better."""
    left_s: float
    """Time left at the present speed."""


class CellposeTrainer:
    """A training that can be stopped and continued.

    Parameters
    ----------
    slices
        What is learnt from.
    held_out
        What is only looked at: the best epoch is the one with the highest AP there, among equals
        the one with the lowest loss.
    recipe
        Settings; None: the fast ones.
    network
        Weights to begin with; None: random ones.
    device
        As torch names it.

    Raises
    ------
    ValueError
        If there is nothing to learn from, or the recipe contradicts the given weights.

    Notes
    -----
    The loss, the crops and the schedules are Cellpose's (see `cellpose_loss`, `draw_crop`,
    `learning_rates`), but for the weight of small sections if the recipe gives one.  Epoch k
    draws from ``(seed, k)``: a continued training equals an uninterrupted one, and one machine
    gives the same weights every time, for the same number of threads.  The original draws from
    other generators, so its weights are not reproduced.
    """

    def __init__(
        self,
        slices: Sequence[AnnotatedSlice],
        *,
        held_out: Sequence[AnnotatedSlice] = (),
        recipe: CellposeRecipe | None = None,
        network: CellposeNetwork | None = None,
        device: str = "cpu",
    ) -> None:
        if not slices or all(part.n_masks == 0 for part in slices):
            raise ValueError("there is nothing to learn from; give at least one slice with masks")
        self.slices, self.held_out = list(slices), list(held_out)
        recipe = recipe or CellposeRecipe()
        self.recipe, self.device = recipe, device
        self.net = _first_net(recipe, network, mean_diameter_px(slices, rule=recipe.rule))
        self.net.to(device)
        self.optimizer = _optimizer(self.net, recipe)
        self.rates = learning_rates(recipe.n_epochs, recipe.learning_rate, rule=recipe.rule)
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.plan = _plan(self.slices, self.held_out, recipe, self.net)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the held-out slices got no better for too long."""
        patience, best = self.recipe.patience, self.best.get("epoch", self.epoch)
        waited = self.epoch - best
        stuck = bool(self.held_out) and patience is not None and waited >= patience
        return self.epoch >= self.recipe.n_epochs or stuck

    def run(self, *, until: int | None = None) -> Iterator[CellposeProgress]:
        """Train, and say after every epoch how far it is.

        Parameters
        ----------
        until
            Stop after so many epochs in all; None: at the end.

        Raises
        ------
        ValueError
            If the loss is no longer a finite number.
        """
        began, first = time.monotonic(), self.epoch
        stop = self.recipe.n_epochs if until is None else min(until, self.recipe.n_epochs)
        while self.epoch < stop and not self.finished:
            loss = self._one_epoch()
            self.epoch += 1
            seen = {"epoch": float(self.epoch), "loss": loss}
            last = self.epoch == self.recipe.n_epochs
            better = (last or self.epoch % self.recipe.check_every == 0) and self._look(seen)
            self.history.append(seen)
            pace = (time.monotonic() - began) / (self.epoch - first)
            yield CellposeProgress(
                self.epoch,
                self.recipe.n_epochs,
                loss,
                seen.get("held_out_loss", math.nan),
                seen.get("held_out_ap", math.nan),
                better,
                pace * (self.recipe.n_epochs - self.epoch),
            )

    def network(self) -> CellposeNetwork:
        """Return the best network so far; the last one without held-out slices."""
        return CellposeNetwork(self.best["net"] if self.best else state_arrays(self.net))

    def state(self) -> bytes:
        """Return all that is needed to continue."""
        tensors = {name: torch.from_numpy(a) for name, a in self.best.get("net", {}).items()}
        return _pack(
            {
                "plan": self.plan,
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "epoch": self.epoch,
                "history": self.history,
                "best": {**self.best, "net": tensors} if self.best else {},
            }
        )

    def restore(self, packed: bytes) -> None:
        """Continue from what :meth:`state` returned.

        Raises
        ------
        ValueError
            If it is of another training, or cannot be read.
        """
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(packed), weights_only=True)
        except Exception as error:
            raise ValueError(
                f"the {len(packed)} bytes of the training's state cannot be read; start anew"
            ) from error
        if state.get("plan") != self.plan:
            raise ValueError(
                "the state is of a training with other slices, settings or first weights; use the "
                "same or start anew"
            )
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.history, self.best = state["epoch"], state["history"], state["best"]
        if self.best:
            self.best["net"] = {name: t.numpy() for name, t in self.best["net"].items()}

    def _one_epoch(self) -> float:
        rng = np.random.default_rng([self.recipe.seed, self.epoch])
        n = self.recipe.crops_per_epoch or len(self.slices)
        turns = -(-n // len(self.slices))
        order = np.concatenate([rng.permutation(len(self.slices)) for _ in range(turns)])[:n]
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.rates[self.epoch])
        self.net.train()
        losses = []
        for start in range(0, n, self.recipe.batch_size):
            part = [self.slices[k] for k in order[start : start + self.recipe.batch_size]]
            images, targets, weights = self._crops(part, [draw(rng) for _ in part])
            loss = cellpose_loss(self.net(images)[0], targets, weights)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(float(loss.detach()) * len(part))
        mean = sum(losses) / n
        if not math.isfinite(mean):
            raise ValueError(
                f"the loss is no number any more in epoch {self.epoch + 1}; use a lower learning "
                f"rate than {self.recipe.learning_rate:g}"
            )
        return mean

    def _crops(
        self, part: Sequence[AnnotatedSlice], draws: Sequence[Draws]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        mean = float(self.net.diam_mean[0])
        made = [
            draw_crop(
                one,
                drawn,
                rescale=max(one.diameter_px, LEAST_DIAMETER_PX) / mean,
                crop_px=self.recipe.crop_px,
                scale_range=self.recipe.scale_range,
            )
            for one, drawn in zip(part, draws, strict=True)
        ]
        images, targets = (torch.from_numpy(np.stack(each)) for each in zip(*made, strict=True))
        shown = images.to(self.device).to(memory_format=torch.channels_last)
        targets = targets.to(self.device)
        most = self.recipe.most_weight
        if most == 1:
            return shown, targets, None
        weights = [
            pixel_weights(one, most=most)[target[0].astype(np.int64)]
            for one, (_, target) in zip(part, made, strict=True)
        ]
        return shown, targets, torch.from_numpy(np.stack(weights)).to(self.device)

    def _look(self, seen: dict[str, float]) -> bool:
        """Judge the held-out slices, and keep the weights if they are the best."""
        if not self.held_out:
            return False
        loss, ap = self._held_out_loss(), self._held_out_ap()
        seen |= {"held_out_loss": loss, "held_out_ap": ap}
        better = self._is_better(loss, ap)
        if better:
            weights = state_arrays(self.net)
            self.best = {"epoch": self.epoch, "loss": loss, "ap": ap, "net": weights}
        return better

    def _is_better(self, loss: float, ap: float) -> bool:
        if not self.best:
            return True
        return (round(ap, 2), -loss) > (round(self.best["ap"], 2), -self.best["loss"])

    def _held_out_loss(self) -> float:
        self.net.eval()
        total = 0.0
        with torch.inference_mode():
            for one in self.held_out:
                images, targets, weights = self._crops([one], [MIDDLE])
                total += float(cellpose_loss(self.net(images)[0], targets, weights))
        return total / len(self.held_out)

    def _held_out_ap(self) -> float:
        self.net.eval()
        scale = np.float32(float(self.net.diam_mean[0]) / float(self.net.diam_labels[0]))
        hits = possible = 0.0
        for one in self.held_out:
            shape = (one.image.shape[1], one.image.shape[2])
            shown = resize_bilinear(one.image, scaled_shape(shape, scale))
            maps = run_tiled(shown, lambda tiles: forward(self.net, tiles, self.device)[0])
            found = masks_of_maps(
                resize_bilinear(maps, shape), shape, scale=scale, options=CellposeOptions()
            )
            score = score_labels(one.target[0].astype(np.uint32), found, iou=IOU)
            hits += score.ap * (one.n_masks + int(found.max()))
            possible += one.n_masks + int(found.max())
        return hits / possible if possible else 1.0


def cellpose_loss(
    answer: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return half the squared error of five times the flow, plus the cross entropy of the cell.

    Parameters
    ----------
    answer : (n, 3, H, W)
        Flow along y, flow along x, log-odds.
    target : (n, 3, H, W)
        Label, flow along y, flow along x.
    weights : (n, H, W)
        How often each pixel counts, over the number of pixels; None: once, as in Cellpose.
    """
    wanted = FLOW_SCALE * target[:, 1:]
    cell = nn.functional.binary_cross_entropy_with_logits(
        answer[:, 2], (target[:, 0] > 0.5).to(answer.dtype), weight=weights
    )
    if weights is None:
        return nn.functional.mse_loss(answer[:, :2], wanted) / 2 + cell
    return (weights[:, None] * (answer[:, :2] - wanted) ** 2).mean() / 2 + cell


def split_held_out(n_slices: int, *, share: float = 0.15, seed: int = 0) -> list[int]:
    """Return which slices are held out, sorted; at least one of four slices, none of fewer.

    Parameters
    ----------
    n_slices
        Slices in all.
    share
        Share of them that is held out; 0: none.
    seed
        Chooses them.
    """
    if not 0 <= share <= 0.9:
        raise ValueError(f"the held-out share lies in 0 to 0.9; found {share:g}")
    if share == 0 or n_slices < FEWEST_TO_SPLIT:
        return []
    n_held = min(max(1, round(share * n_slices)), n_slices - 1)
    order = np.random.default_rng([seed, n_slices]).permutation(n_slices)
    return sorted(order[:n_held].tolist())


def pack_weights(network: CellposeNetwork) -> bytes:
    """Return the weights as the file that Cellpose saves: a bare state dict of torch."""
    return _pack({name: torch.from_numpy(np.array(a)) for name, a in network.state.items()})


def use_threads(n: int | None) -> None:
    """Let torch use so many threads of the processor from now on; None: what it chooses itself."""
    if n is not None:
        torch.set_num_threads(n)


def _pack(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _first_net(
    recipe: CellposeRecipe, network: CellposeNetwork | None, diam_labels_px: float
) -> CellposeNet:
    momentum = 0.05 if recipe.rule == "cellpose3" else 0.1
    layout = CellposeLayout(recipe.widths) if network is None else network.layout
    mean = recipe.diam_mean_px if network is None else network.diam_mean_px
    if layout.widths != recipe.widths or mean != recipe.diam_mean_px:
        raise ValueError(
            f"the given weights have the widths {layout.widths} and diam_mean {mean:g}, the "
            f"recipe asks for {recipe.widths} and {recipe.diam_mean_px:g}; a network keeps both: "
            "ask for its own, or start from random weights"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = CellposeNet(layout, diam_mean_px=mean, momentum=momentum)
    if network is not None:
        net.load_state_dict({name: torch.tensor(a) for name, a in network.state.items()})
    net.diam_labels.data.fill_(diam_labels_px)
    return channels_last(net)


def _optimizer(net: CellposeNet, recipe: CellposeRecipe) -> torch.optim.Optimizer:
    learnt = [part for part in net.parameters() if part.requires_grad]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(learnt, lr=rate, weight_decay=decay, momentum=0.9)
    return torch.optim.AdamW(learnt, lr=rate, weight_decay=decay)


def _plan(
    slices: Sequence[AnnotatedSlice],
    held_out: Sequence[AnnotatedSlice],
    recipe: CellposeRecipe,
    net: CellposeNet,
) -> str:
    """Return what a state must agree on, as a hash."""
    digest = hashlib.sha256(json.dumps(recipe.as_dict(), sort_keys=True).encode())
    for part in (*slices, *held_out):
        digest.update(part.image.tobytes() + part.target.tobytes())
    digest.update(str(len(slices)).encode())
    for name, value in state_arrays(net).items():
        digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()
