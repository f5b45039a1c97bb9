"""How a Cellpose network is trained: the original's recipe, and a faster one."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.cellpose_flows import Rule

__all__ = ["CellposeRecipe", "learning_rates", "recipe_like"]

Optimizer: TypeAlias = Literal["adamw", "sgd"]
RecipeName: TypeAlias = Literal["fast", "original", "cellpose3"]

WARM_UP = 10
NARROW, FULL = (8, 16, 32, 64), (32, 64, 128, 256)


@dataclass(frozen=True)
class CellposeRecipe:
    """Settings of a training.

    Parameters
    ----------
    widths
        Channels of the four scales.  Cellpose's own program loads (32, 64, 128, 256) only;
        (8, 16, 32, 64) is 15 times smaller and 5 times faster.
    diam_mean_px
        Sections are scaled to this diameter.
    n_epochs
        Passes over the slices.
    optimizer, learning_rate, weight_decay
        SGD has the momentum 0.9.
    batch_size, crop_px
        Crops of a step and their side, a multiple of 8.
    crops_per_epoch
        None: one of each slice.
    scale_range
        Scales are drawn within half of it about 1.
    most_weight
        How often a pixel of a small section may count: see `pixel_weights`.  1: all pixels count
        alike, as in Cellpose.
    rule
        Whose schedule, flows and momentum of BatchNorm are used.
    check_every
        Epochs between looks at the held-out slices.
    patience
        Stop if they got no better for so many epochs; None: never.
    seed
        Chooses the first weights and every crop.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    widths: tuple[int, int, int, int] = NARROW
    diam_mean_px: float = 15.0
    n_epochs: int = 120
    optimizer: Optimizer = "adamw"
    learning_rate: float = 5e-3
    weight_decay: float = 1e-5
    batch_size: int = 8
    crop_px: int = 112
    crops_per_epoch: int | None = 48
    scale_range: float = 0.5
    most_weight: float = 4.0
    rule: Rule = "cellpose3"
    check_every: int = 10
    patience: int | None = 60
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.n_epochs, self.batch_size, self.check_every)
        optional = (self.crops_per_epoch, self.patience)
        rules = (
            ("widths are above 0", min(self.widths) > 0),
            ("diam_mean_px lies in 1 to 1000", 1 <= self.diam_mean_px <= 1000),
            ("n_epochs, batch_size and check_every are at least 1", min(counts) >= 1),
            (
                "crops_per_epoch and patience are at least 1",
                all(n is None or n > 0 for n in optional),
            ),
            ("the optimizer is adamw or sgd", self.optimizer in ("adamw", "sgd")),
            ("the learning rate lies above 0 and up to 10", 0 < self.learning_rate <= 10),
            ("the weight decay lies in 0 to 1", 0 <= self.weight_decay <= 1),
            ("crop_px is a multiple of 8", self.crop_px >= 8 and self.crop_px % 8 == 0),
            ("scale_range lies in 0 to 1.9", 0 <= self.scale_range <= 1.9),
            ("most_weight lies in 1 to 100", 1 <= self.most_weight <= 100),
            ("the seed is at least 0", self.seed >= 0),
        )
        broken = [text for text, kept in rules if not kept]
        if broken:
            raise ValueError(f"{'; '.join(broken)}; found {self}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def recipe_like(name: RecipeName = "fast", **changes: object) -> CellposeRecipe:
    """Return a recipe by name, with changes.

    Parameters
    ----------
    name
        ``"fast"``: a narrow network, AdamW, small sections count as much as large ones, a few
        minutes.  ``"original"``: SGD with rate 0.1 and
        weight decay 1e-4 for 500 passes, as the published fish was done with Cellpose 2.
        ``"cellpose3"``: what Cellpose 3 does if asked for nothing else.
    changes
        Fields of `CellposeRecipe`.

    Raises
    ------
    ValueError
        If there is no such recipe, or a value is outside of its range.
    """
    wide = CellposeRecipe(
        widths=FULL,
        diam_mean_px=30.0,
        crop_px=224,
        crops_per_epoch=None,
        most_weight=1.0,
        patience=None,
    )
    sgd = replace(
        wide, n_epochs=500, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, rule="cellpose2"
    )
    made = {"fast": CellposeRecipe(), "original": sgd, "cellpose3": replace(wide, n_epochs=100)}
    if name not in made:
        raise ValueError(f"recipes are {', '.join(made)}; found {name!r}")
    return replace(made[name], **changes)  # type: ignore[arg-type]


def learning_rates(
    n_epochs: int, rate: float, *, rule: Rule = "cellpose3"
) -> npt.NDArray[np.float64]:
    """Return the learning rate of every epoch.

    Parameters
    ----------
    n_epochs
        Length of the training.
    rate
        The highest rate.
    rule
        Both warm up from 0 in ten epochs.  Cellpose 3 halves the rate every 10 of the last 100
        epochs (of more than 300), or every 5 of the last 50 (of more than 100); Cellpose 2 every
        10 of the last 90 (of more than 250).
    """
    rates = np.full(n_epochs, float(rate))
    ramp = np.linspace(0, rate, WARM_UP)[:n_epochs]
    rates[: len(ramp)] = ramp
    halvings = {
        "cellpose3": [(300, 100, 10), (100, 50, 5)],
        "cellpose2": [(250, 90, 10)],
    }
    for least, last, every in halvings[rule]:
        if n_epochs > least:
            rates[-last:] = rate * 0.5 ** (np.arange(last) // every + 1)
            break
    return rates
