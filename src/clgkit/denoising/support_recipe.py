"""How a SUPPORT network is trained: presets and single settings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from clgkit.denoising.support_layout import SupportLayout

__all__ = ["Preset", "SupportRecipe", "support_recipe"]

Preset: TypeAlias = Literal["small", "standard", "published"]
Schedule: TypeAlias = Literal["constant", "cosine"]

SMALL = SupportLayout(n_frames=15, widths=(16, 32, 64), channels=24, depths=(4, 2))


@dataclass(frozen=True)
class SupportRecipe:
    """Settings of a training.

    Parameters
    ----------
    layout
        Sizes of the network; its blind spot is replaced by `blind_spot`.
    blind_spot
        Along y and x, in pixels; None: from the correlation of the noise.
    n_steps
        Steps at most.
    batch_size, patch_px
        Patches of a step and their side.
    learning_rate, schedule
        Of Adam; ``"cosine"`` lets it fall to nothing over all steps.
    check_every
        Steps between looks at the held-out frames.
    patience
        Stop if they got no better in so many looks; None: never.
    n_held_out
        Patches of held-out frames that are looked at.
    seed
        Chooses the first weights and every patch.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    layout: SupportLayout = SMALL
    blind_spot: tuple[int, int] | None = None
    n_steps: int = 2000
    batch_size: int = 4
    patch_px: int = 64
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    check_every: int = 100
    patience: int | None = 10
    n_held_out: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.n_steps, self.batch_size, self.check_every, self.n_held_out)
        rules = (
            ("steps, batch_size, check_every and n_held_out are at least 1", min(counts) >= 1),
            ("patience is at least 1", self.patience is None or self.patience >= 1),
            ("patch_px is at least 16", self.patch_px >= 16),
            ("the learning rate lies above 0 and up to 1", 0 < self.learning_rate <= 1),
            ("the schedule is constant or cosine", self.schedule in ("constant", "cosine")),
            ("the seed is at least 0", self.seed >= 0),
        )
        broken = [text for text, kept in rules if not kept]
        if broken:
            raise ValueError(f"{'; '.join(broken)}; found {self}")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * step / self.n_steps)) / 2

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        made = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return made | {"layout": self.layout.as_dict()}


def support_recipe(preset: Preset = "small", **changes: Any) -> SupportRecipe:
    """Return a recipe by name, with changes.

    Parameters
    ----------
    preset
        ``"small"``: 15 frames and 0.11 million parameters, for a machine without a GPU.
        ``"standard"``: 31 frames and 0.48 million parameters.  ``"published"``: the sizes, the
        batch and the rate of the published networks, 61 frames and 1.4 million parameters; far
        fewer steps than the 500 passes of the original.
    changes
        Fields of `SupportRecipe`.

    Raises
    ------
    ValueError
        If there is no such preset, or a value is outside of its range.
    """
    small = SupportRecipe()
    made = {
        "small": small,
        "standard": replace(
            small,
            layout=SupportLayout(n_frames=31, widths=(16, 32, 64, 128), channels=48),
            n_steps=5000, batch_size=8, patch_px=96, learning_rate=1e-3,
        ),
        "published": replace(
            small,
            layout=SupportLayout(),
            n_steps=20000, batch_size=16, patch_px=128, learning_rate=5e-4, schedule="constant",
        ),
    }  # fmt: skip
    if preset not in made:
        raise ValueError(f"presets are {', '.join(made)}; found {preset!r}")
    return replace(made[preset], **changes)
