"""Train a SUPPORT network on the movie that it is to denoise.

This module needs the extra ``deep``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ImportError(
        "training a SUPPORT network needs torch: pip install clgkit[deep]", name=error.name
    ) from error

from clgkit.denoising.support_net import (
    SupportNet,
    new_network,
    state_arrays,
    threads_of,
    threads_set,
)
from clgkit.denoising.support_recipe import SupportRecipe
from clgkit.denoising.support_samples import Patches, turn
from clgkit.denoising.support_spot import BlindSpot, choose_blind_spot

if TYPE_CHECKING:
    from clgkit.denoising.noise import Frames

__all__ = ["HeldOut", "SupportProgress", "SupportTrainer", "support_loss"]

Float32: TypeAlias = npt.NDArray[np.float32]

COPIED = 0.5  # of the noise
HELD_OUT = 2**32 - 1  # no step has this number


class HeldOut(NamedTuple):
    """What the held-out frames say."""

    loss: float
    """Half the mean absolute and half the mean squared error."""
    predicted: float
    """Share of the noise variance that the network predicted; about 0 for a good one."""
    passed: float
    """Share of noise put on a frame that comes out again; 0 for white noise."""

    @property
    def is_copy(self) -> bool:
        """Whether noise goes through the network rather than staying out."""
        return self.predicted > COPIED and self.passed > COPIED


class SupportProgress(NamedTuple):
    """How far a training is."""

    step: int
    n_steps: int
    loss: float
    """Of this step."""
    held_out: HeldOut | None
    """None where it was not looked at."""
    is_best: bool
    """Whether the held-out frames were never better."""
    left_s: float
    """Time left at the present speed, if it does not stop early."""


class SupportTrainer:
    """A training that can be stopped and continued.

    Parameters
    ----------
    planes
        The planes of a movie, each (T, Y, X), of any real dtype; NaN where nothing is known.
    recipe
        Settings; None: those of the preset ``small``.
    device
        As torch names it.

    Attributes
    ----------
    spot
        What the correlation of the noise speaks for; used unless the recipe says otherwise.

    Raises
    ------
    ValueError
        If the movie is too short, or nothing changes in it.

    Notes
    -----
    Loss, augmentation and optimizer are those of the paper; the cosine schedule of the smaller
    presets, the held-out frames and stopping early are ours.  Step k draws from ``(seed, k)``: a
    continued training equals an uninterrupted one, number by number on one processor.
    """

    def __init__(
        self,
        planes: Sequence[Frames],
        *,
        recipe: SupportRecipe | None = None,
        device: str = "cpu",
    ) -> None:
        recipe = recipe or SupportRecipe()
        n_frames = recipe.layout.n_frames
        self.patches = Patches(planes, n_frames=n_frames, side_px=recipe.patch_px)
        self.spot: BlindSpot = choose_blind_spot(self.patches.correlation)
        size = recipe.blind_spot or self.spot.size
        self.recipe = replace(recipe, layout=replace(recipe.layout, blind_spot=size))
        self.device = device
        self.net: SupportNet = new_network(self.recipe.layout, seed=recipe.seed)
        self.net.to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=recipe.learning_rate)
        rng = np.random.default_rng([recipe.seed, HELD_OUT])
        self.held_out = self.patches.draw(rng, recipe.n_held_out, held_out=True)
        self.noise = self.patches.draw_noise(rng, recipe.n_held_out)
        is_known = np.isfinite(self.held_out[:, n_frames // 2]).any(axis=(1, 2))
        self.held_out, self.noise = self.held_out[is_known], self.noise[is_known]
        if not is_known.any():
            raise ValueError(
                "the frames that are held out to judge the training hold no finite value; leave "
                "bad frames out of the movie"
            )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.plan = _plan(self.recipe, self.held_out, self.noise)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the held-out frames got no better for too long."""
        waited = (self.step - self.best.get("step", self.step)) // self.recipe.check_every
        stuck = self.recipe.patience is not None and waited >= self.recipe.patience
        return self.step >= self.recipe.n_steps or stuck

    def run(self, *, until: int | None = None) -> Iterator[SupportProgress]:
        """Train, and say after every step how far it is.

        Parameters
        ----------
        until
            Stop after so many steps in all; None: at the end.

        Raises
        ------
        ValueError
            If the loss is no longer a finite number, or the network learns to copy its input.
        """
        began, first, n_steps = time.monotonic(), self.step, self.recipe.n_steps
        stop = n_steps if until is None else min(until, n_steps)
        while self.step < stop and not self.finished:
            with threads_set(threads_of(self.recipe.layout)):
                loss = self._one_step()
                self.step += 1
                looks = self.step % self.recipe.check_every == 0 or self.step == n_steps
                seen = self.look() if looks else None
            is_best = seen is not None and self._keep(seen)
            pace = (time.monotonic() - began) / (self.step - first)
            left_s = pace * (n_steps - self.step)
            yield SupportProgress(self.step, n_steps, loss, seen, is_best, left_s)

    def network(self) -> SupportNet:
        """Return the best network so far, on the processor; the present one if none was judged."""
        made = SupportNet(self.recipe.layout)
        weights = self.best["net"] if self.best else state_arrays(self.net)
        made.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
        return made.eval()

    def configuration(self) -> dict[str, Any]:
        """Return what belongs beside the weights, as JSON can hold it."""
        seen = {key: value for key, value in self.best.items() if key != "net"}
        return {
            "layout": self.recipe.layout.as_dict(),
            "recipe": self.recipe.as_dict(),
            "blind_spot": self.spot.sentence(),
            "best": seen,
            "n_steps": self.step,
        }

    def look(self) -> HeldOut:
        """Judge the held-out frames, and whether noise put on them comes out again."""
        middle = self.recipe.layout.center
        losses, squares, passed, power = [], [], 0.0, 0.0
        self.net.eval()
        with torch.inference_mode():
            for patch, noise in zip(self.held_out, self.noise, strict=True):
                shown = np.nan_to_num(patch)[None]
                made = self.net(self._tensor(shown))
                target = self._tensor(patch[None, middle : middle + 1])
                losses.append(float(support_loss(made, target)))
                squares.append(float(torch.nanmean((made - target) ** 2)))
                shown[0, middle] += noise
                change = (self.net(self._tensor(shown)) - made)[0, 0].cpu().numpy()
                passed += float((change * noise).sum(dtype=np.float64))
                power += float((noise**2).sum(dtype=np.float64))
        predicted = 1 - float(np.nanmean(squares)) / self.patches.noise_variance
        return HeldOut(float(np.mean(losses)), predicted, passed / power if power else 0.0)

    def state(self) -> bytes:
        """Return all that is needed to continue."""
        tensors = {name: torch.tensor(a) for name, a in self.best.get("net", {}).items()}
        buffer = io.BytesIO()
        torch.save(
            {
                "plan": self.plan,
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "history": self.history,
                "best": {**self.best, "net": tensors} if self.best else {},
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, packed: bytes) -> None:
        """Continue from what :meth:`state` returned.

        Raises
        ------
        ValueError
            If it is of another training, or cannot be read.
        """
        try:
            found: Any = torch.load(io.BytesIO(packed), weights_only=True, map_location=self.device)
        except Exception as error:
            raise ValueError(
                f"the {len(packed)} bytes of the training's state cannot be read; start anew"
            ) from error
        if not isinstance(found, dict) or found.get("plan") != self.plan:
            raise ValueError(
                "the state is of a training with another movie or other settings; use the same or "
                "start anew"
            )
        self.net.load_state_dict(found["net"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.step, self.history, self.best = found["step"], found["history"], found["best"]
        if self.best:
            self.best["net"] = {name: t.cpu().numpy() for name, t in self.best["net"].items()}

    def _one_step(self) -> float:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.step])
        patches = self.patches.draw(rng, recipe.batch_size)
        is_square = (
            len(set(recipe.layout.blind_spot)) == 1 and patches.shape[-2] == patches.shape[-1]
        )
        quarters = int(rng.integers(4)) if is_square else 0
        patches = turn(patches, quarters=quarters, flip=bool(rng.integers(2)))
        middle = recipe.layout.center
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.step)
        self.net.train()
        made = self.net(self._tensor(np.nan_to_num(patches)))
        loss = support_loss(made, self._tensor(patches[:, middle : middle + 1]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is no number any more in step {self.step + 1}; use a lower learning "
                f"rate than {recipe.learning_rate:g}"
            )
        return value

    def _tensor(self, values: Float32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _keep(self, seen: HeldOut) -> bool:
        """Note what was seen, keep the weights if they are the best, refuse a copy."""
        self.history.append({"step": float(self.step), **seen._asdict()})
        if seen.is_copy:
            y, x = self.recipe.layout.blind_spot
            raise ValueError(
                f"the network learns to copy its input: after {self.step} steps it predicts "
                f"{seen.predicted:.0%} of the noise of frames it was not trained on, because "
                f"noise is shared by more pixels than its blind spot of {y} x {x} hides (or there "
                "is little noise, and what changes from frame to frame is signal); take a larger "
                "one, the movie before resampling, or another method"
            )
        is_best = not self.best or seen.loss < self.best["loss"]
        if is_best:
            weights = state_arrays(self.net)
            self.best = {"step": self.step, **seen._asdict(), "net": weights}
        return is_best


def support_loss(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return half the mean absolute and half the mean squared error, where `target` is no NaN."""
    known = torch.isfinite(target)
    error = torch.where(known, made - target, torch.zeros_like(made))
    return (error.abs() + error**2).sum() / (2 * known.sum().clamp(min=1))


def _plan(recipe: SupportRecipe, *arrays: Float32) -> str:
    """Return what a state must agree on, as a hash."""
    digest = hashlib.sha256(json.dumps(recipe.as_dict(), sort_keys=True).encode())
    for values in arrays:
        digest.update(values.tobytes())
    return digest.hexdigest()
