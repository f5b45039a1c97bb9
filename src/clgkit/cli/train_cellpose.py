"""``clg train-cellpose``: a Cellpose network of one's own annotated slices."""

from __future__ import annotations

import importlib.metadata
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit import fsio
from clgkit.cli.training import refuse_noise, resume, sha256, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from clgkit.io.cellpose import TrainingPair
    from clgkit.segmentation.cellpose_network import CellposeNetwork
    from clgkit.segmentation.cellpose_recipe import CellposeRecipe
    from clgkit.segmentation.cellpose_samples import AnnotatedSlice
    from clgkit.segmentation.cellpose_training import CellposeProgress, CellposeTrainer

SAVE_EVERY_S = 60.0
SAY_EVERY_S = 10.0
FILES = click.Path(path_type=Path)
EPILOG = """\b
Examples:
    clg train-cellpose slices
    clg train-cellpose slices --output nuclei.pth --pretrained cyto2torch_0
    clg train-cellpose slices --recipe original --output nuclei.pth
"""


class Channels(click.ParamType[tuple[int, ...]]):
    """Two channels counted from 1, such as ``2,1``."""

    name = "A,B"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the two numbers."""
        parts = str(value).split(",")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            self.fail(f"{value!r} is not two channels such as 0,0 or 2,1", param, ctx)
        return tuple(int(part) for part in parts)


@click.command("train-cellpose", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--output", type=FILES, help="Weights to write.  [default: FOLDER/cellpose.pth]")
@click.option("--pretrained", type=FILES, help="Weights to start from; else random ones.")
@click.option(
    "--recipe",
    "recipe_name",
    type=click.Choice(["fast", "original", "cellpose3"]),
    default="fast",
    show_default=True,
    help="Optimizer, length and size of the network.",
)
@click.option(
    "--widths",
    type=click.Choice(["narrow", "full"]),
    help="Size of the network; Cellpose's own program opens the full one only.",
)
@click.option("--epochs", "n_epochs", type=click.IntRange(1), help="Passes over the slices.")
@click.option("--learning-rate", type=float, help="Highest learning rate.")
@click.option("--weight-decay", type=float, help="Weight decay.")
@click.option("--diam-mean-px", type=float, help="Sections are scaled to this diameter.")
@click.option("--patience", type=click.IntRange(1), help="Stop after so many epochs without gain.")
@click.option("--seed", type=click.IntRange(0), help="Chooses first weights, crops and the split.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9),
    default=0.15,
    show_default=True,
    help="Share of the slices that are not learnt from but choose the best epoch.",
)
@click.option(
    "--min-masks",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Slices with fewer masks are left out.",
)
@click.option(
    "--channels",
    type=Channels(),
    default="0,0",
    show_default=True,
    help="Channel to segment and nuclear channel, from 1; 0,0 takes the mean.",
)
@click.option("--image-filter", default="", help='End of the names of images, such as "_img".')
@click.option(
    "--mask-filter", default="_masks", show_default=True, help="End of the names of masks."
)
@click.option("--device", default="cpu", show_default=True, help='"cpu", "cuda" or "cuda:1".')
@click.option("--threads", type=click.IntRange(1), help="Threads of the processor.")
@click.option("--ignore-noise", is_flag=True, help="Learn from slices that look like noise, too.")
@click.option("--overwrite", is_flag=True, help="Replace weights that are there.")
def command(folder: Path, output: Path | None, *, overwrite: bool, **given: Any) -> None:
    """Train a Cellpose network on the annotated slices in FOLDER.

    FOLDER holds images and masks by Cellpose's names: a.tif with a_masks.tif, a_masks.png or
    a_seg.npy.  Some slices are held out; the weights of the epoch that does best on them are
    written, in Cellpose's format, and beside them a JSON with settings, scores and hashes.
    An interrupted training goes on when the same command is run again.
    """
    from clgkit.errors import SettingsError
    from clgkit.io.cellpose import read_training_folder, write_cellpose_weights
    from clgkit.io.pixels import existing, writable
    from clgkit.workspace import Workspace

    existing(folder)
    Workspace(device=given["device"])  # says why a device cannot be used
    output = writable(output if output is not None else folder / "cellpose.pth")
    if output.exists() and not overwrite:
        raise SettingsError(f"{output} is there already. Replace it with --overwrite.")
    found = read_training_folder(
        folder,
        image_filter=given["image_filter"],
        mask_filter=given["mask_filter"],
        min_masks=given["min_masks"],
    )
    for line in found.dropped:
        click.echo(f"left out: {line}", err=True)
    network = _pretrained(given["pretrained"])
    recipe = _recipe(given, network)
    slices = _annotated(found.pairs, recipe, given)
    trainer, held = _trainer(slices, recipe, network, given)
    names = [pair.name for pair in found.pairs]
    _say_plan(trainer, [names[k] for k in held])
    state = output.with_name(f"{output.name}.partial")
    resume(trainer, state, lambda: f"epoch {trainer.epoch}")
    _train(trainer, state)
    notes = _notes(trainer, found.pairs, held, given)
    write_cellpose_weights(output, _packed(trainer), notes=notes | {"left_out": found.dropped})
    fsio.remove(state)
    click.echo(f"Wrote {output} and {output.name}.json.{_verdict(notes)}")


def _pretrained(path: Path | None) -> CellposeNetwork | None:
    from clgkit.errors import as_data_error
    from clgkit.io.cellpose import read_cellpose_weights
    from clgkit.segmentation.cellpose_network import CellposeNetwork

    if path is None:
        return None
    weights = read_cellpose_weights(path)
    for note in weights.notes:
        click.echo(f"warning: {note}", err=True)
    with as_data_error(str(path)):
        return CellposeNetwork(weights.state)


def _recipe(given: dict[str, Any], network: CellposeNetwork | None) -> CellposeRecipe:
    """Return the settings: those of the recipe, of the given weights, and of the options."""
    from clgkit.errors import SettingsError
    from clgkit.segmentation.cellpose_recipe import FULL, NARROW, recipe_like

    names = ("n_epochs", "learning_rate", "weight_decay", "diam_mean_px", "patience", "seed")
    changes: dict[str, Any] = {}
    if network is not None:
        changes |= {"widths": network.layout.widths, "diam_mean_px": network.diam_mean_px}
    changes |= {name: given[name] for name in names if given[name] is not None}
    if given["widths"] is not None:
        changes["widths"] = {"narrow": NARROW, "full": FULL}[given["widths"]]
    try:
        return recipe_like(given["recipe_name"], **changes)
    except ValueError as error:
        raise SettingsError(f"These settings cannot train a network: {error}.") from None


def _annotated(
    pairs: Sequence[TrainingPair], recipe: CellposeRecipe, given: dict[str, Any]
) -> list[AnnotatedSlice]:
    """Return the slices ready to be learnt from; all faults are told at once."""
    from clgkit.errors import DataError
    from clgkit.segmentation.cellpose_samples import annotate_slice

    made, faults = [], []
    for pair in pairs:
        try:
            image = _channels(pair.image, given["channels"])
            _check_pixels(image[0], noise_is_fine=given["ignore_noise"])
            made.append(annotate_slice(image, pair.labels, rule=recipe.rule))
        except ValueError as error:
            faults.append(f"\n  - {pair.name}: {error}")
    if faults:
        raise DataError(f"Some slices cannot be learnt from:{''.join(faults)}")
    return made


def _channels(image: np.ndarray[Any, Any], chosen: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the two channels (2, Y, X) that the network sees."""
    import numpy as np

    n = len(image)
    first, second = chosen
    if max(chosen) > n:
        raise ValueError(f"it has {n} channels; --channels asks for {first},{second}")
    shown = image.mean(axis=0) if first == 0 and n > 1 else image[max(first, 1) - 1]
    other = image[second - 1] if second else np.zeros_like(shown)
    return np.stack([shown, other])


def _check_pixels(plane: np.ndarray[Any, Any], *, noise_is_fine: bool) -> None:
    import numpy as np

    if noise_is_fine:
        return
    if np.ptp(plane) == 0:
        raise ValueError("all of its pixels are equal")
    refuse_noise(plane)


def _trainer(
    slices: list[AnnotatedSlice],
    recipe: CellposeRecipe,
    network: CellposeNetwork | None,
    given: dict[str, Any],
) -> tuple[CellposeTrainer, list[int]]:
    from clgkit.errors import MissingDependency, as_data_error

    try:
        from clgkit.segmentation import cellpose_training as training
    except ImportError as error:
        raise MissingDependency(
            "Training needs torch. Install it: pip install clgkit[deep]"
        ) from error
    training.use_threads(given["threads"] or (1 if max(recipe.widths) < 256 else None))
    held = training.split_held_out(len(slices), share=given["held_out"], seed=recipe.seed)
    learnt = [part for k, part in enumerate(slices) if k not in held]
    with as_data_error():
        made = training.CellposeTrainer(
            learnt,
            held_out=[slices[k] for k in held],
            recipe=recipe,
            network=network,
            device=given["device"],
        )
    return made, held


def _say_plan(trainer: CellposeTrainer, held: list[str]) -> None:
    n_masks = sum(part.n_masks for part in trainer.slices)
    diameter = float(trainer.net.diam_labels[0])
    click.echo(
        f"{len(trainer.slices)} slices with {n_masks} masks of typically {diameter:.1f} px to "
        f"learn from; held out: {', '.join(held) or 'none, so the last epoch is kept'}."
    )


def _train(trainer: CellposeTrainer, state: Path) -> None:
    said = time.monotonic()
    for step in train(trainer, state, every_s=SAVE_EVERY_S, always=_looked):
        now = time.monotonic()
        if _looked(step) or now - said > SAY_EVERY_S or step.epoch == step.n_epochs:
            click.echo(_line(step))
            said = now
    if trainer.epoch < trainer.recipe.n_epochs:
        click.echo(f"stopped early: no better since epoch {trainer.best['epoch']}")


def _looked(step: CellposeProgress) -> bool:
    return not math.isnan(step.held_out_loss)


def _line(step: CellposeProgress) -> str:
    from clgkit.cli.console import duration

    seen = f", held out {step.held_out_loss:.3f}, AP {step.held_out_ap:.3f}"
    held = seen if _looked(step) else ""
    best = " (best)" if step.is_best else ""
    left = f", {duration(step.left_s)} left" if step.epoch < step.n_epochs else ""
    return f"  epoch {step.epoch} of {step.n_epochs}: loss {step.loss:.3f}{held}{best}{left}"


def _packed(trainer: CellposeTrainer) -> bytes:
    from clgkit.segmentation.cellpose_training import pack_weights

    return pack_weights(trainer.network())


def _notes(
    trainer: CellposeTrainer, pairs: Sequence[TrainingPair], held: list[int], given: dict[str, Any]
) -> dict[str, Any]:
    """Return what is written beside the weights."""
    best = {k: v for k, v in trainer.best.items() if k != "net"}
    pretrained = given["pretrained"]
    return {
        "made_by": f"clgkit {importlib.metadata.version('clgkit')}",
        "recipe": trainer.recipe.as_dict(),
        "channels": list(given["channels"]),
        "pretrained": None if pretrained is None else sha256(pretrained.read_bytes()),
        "diam_labels_px": float(trainer.net.diam_labels[0]),
        "best": best or {"epoch": trainer.epoch},
        "history": trainer.history,
        "slices": [
            {
                "name": pair.name,
                "held_out": k in held,
                "image_sha256": sha256(pair.image.tobytes()),
                "masks_sha256": sha256(pair.labels.tobytes()),
            }
            for k, pair in enumerate(pairs)
        ],
    }


def _verdict(notes: dict[str, Any]) -> str:
    best = notes["best"]
    if "ap" not in best:
        return ""
    return f" Epoch {best['epoch']} did best: AP at 0.5 of {best['ap']:.3f} on held-out slices."
