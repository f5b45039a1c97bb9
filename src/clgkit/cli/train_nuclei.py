"""``clg train-nuclei``: the shipped network of nuclei, adapted to tissue of one's own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clgkit import fsio
from clgkit.cli.init import Spacing
from clgkit.cli.training import refuse_noise, resume, sha256, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from clgkit.io.annotated import AnnotatedStack
    from clgkit.segmentation.annotations import Annotation, HeldOut, PooledScore
    from clgkit.segmentation.fine_tuning import FineTuner
    from clgkit.segmentation.network import NucleusNetwork

SAVE_EVERY_S = 20.0
SECTIONS = (0.5, 1.15)  # plausible diameters of typical sections over that of nuclei
FILES = click.Path(path_type=Path)
EPILOG = """\b
Examples:
    clg train-nuclei annotated --output my.onnx
    clg train-nuclei annotated --output my.onnx --voxel-um 1,0.4,0.4 --diameter-um 5
    clg segment-nuclei structure.tif labels.tif --model my.onnx
"""


@click.command("train-nuclei", epilog=EPILOG)
@click.argument("folder", type=FILES)
@click.option("--output", type=FILES, help="Network to write.  [default: FOLDER/nuclei.onnx]")
@click.option("--from", "first", type=FILES, help="Network to start from, if not the shipped one.")
@click.option("--voxel-um", type=Spacing(), help="Voxel size in um, if the files do not say it.")
@click.option("--diameter-um", type=click.FloatRange(0, min_open=True), default=6.0,
              show_default=True, help="Lateral diameter of a nucleus.")  # fmt: skip
@click.option("--elongation", type=click.FloatRange(0, min_open=True), default=2.0,
              show_default=True, help="How many times longer than wide nuclei look.")  # fmt: skip
@click.option("--empty-slices", type=click.Choice(["unlabelled", "background"]),
              default="unlabelled", show_default=True,
              help="What slices of a stack are in which nothing is labelled.")  # fmt: skip
@click.option("--steps", "n_steps", type=click.IntRange(1), default=300, show_default=True,
              help="Steps at most.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, 0.1, min_open=True),
              default=2e-3, show_default=True, help="Highest learning rate.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), default=6, show_default=True,
              help="Stop after so many looks, 25 steps apart, without gain.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Chooses crops and what is held out.")  # fmt: skip
@click.option("--held-out", type=click.FloatRange(0, 0.9), default=0.2, show_default=True,
              help="Share that is not learnt from but chooses the best weights.")  # fmt: skip
@click.option("--min-labels", type=click.IntRange(1), default=5, show_default=True,
              help="Images with fewer labels are left out.")  # fmt: skip
@click.option("--image-filter", default="", help='End of the names of images, such as "_img".')
@click.option("--mask-filter", default="_masks", show_default=True,
              help="End of the names of labels.")  # fmt: skip
@click.option("--ignore-noise", is_flag=True, help="Learn from images that look like noise, too.")
@click.option("--overwrite", is_flag=True, help="Replace a network that is there.")
def command(folder: Path, output: Path | None, *, overwrite: bool, **given: Any) -> None:
    """Adapt the network of nuclei to the annotated images in FOLDER.

    FOLDER holds images and labels by Cellpose's names: a.tif with a_masks.tif, a_masks.png or
    a_seg.npy; both are slices, or stacks.  Of a stack a few slices may be labelled, or all.  Some
    are held out: they score the network before and after.  An interrupted training goes on when
    the same command is run again.
    """
    from clgkit.errors import MissingDependency, SettingsError
    from clgkit.io.annotated import read_annotated_folder
    from clgkit.io.pixels import existing, writable

    existing(folder)
    output = writable(output if output is not None else folder / "nuclei.onnx")
    if output.exists() and not overwrite:
        raise SettingsError(f"{output} is there already. Replace it with --overwrite.")
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
        raise MissingDependency("Training needs torch and onnx: pip install clgkit[deep]")
    found = read_annotated_folder(
        folder,
        image_filter=given["image_filter"],
        mask_filter=given["mask_filter"],
        min_labels=given["min_labels"],
    )
    for line in found.dropped:
        click.echo(f"left out: {line}", err=True)
    network = _first(given["first"])
    parts = _parts(found.stacks, given)
    tuner = _tuner(network, parts, given)
    _say_plan(parts, given)
    before = _score(network, parts.held_out)
    if before is not None:
        click.echo(f"before: {_said(before)}")
    state = output.with_name(f"{output.name}.partial")
    resume(tuner, state, lambda: f"step {tuner.step}")
    _train(tuner, state)
    tuned = tuner.network(seed=str(given["seed"]))
    after = _score(tuned, parts.held_out)
    notes = _notes(tuner, found.stacks, parts, given) | {
        "before": before and before._asdict(),
        "after": after and after._asdict(),
        "left_out": list(found.dropped),
    }
    fsio.write_bytes(output, tuned.weights)
    fsio.write_json(output.with_name(f"{output.name}.json"), notes)
    fsio.remove(state)
    if after is not None:
        click.echo(f"after: {_said(after)}")
    click.echo(f"Wrote {output} and {output.name}.json.{_verdict(tuner, before, after)}")


def _first(path: Path | None) -> NucleusNetwork:
    """Return the network to begin with."""
    from clgkit.errors import DataError, as_data_error
    from clgkit.pipeline.models import open_model
    from clgkit.segmentation.network import NucleusNetwork, shipped_network
    from clgkit.segmentation.training_graph import read_onnx

    if path is None:
        return shipped_network()
    network = open_model(path)
    if not isinstance(network, NucleusNetwork):
        raise DataError(
            f"{path} is a network of Cellpose; train it with `clg train-cellpose --pretrained`.",
            code="E_NOT_IMAGE",
        )
    with as_data_error(str(path)):
        read_onnx(network.weights)
    return network


def _parts(stacks: Sequence[AnnotatedStack], given: dict[str, Any]) -> HeldOut:
    """Return what is learnt from and what is held out; all faults are told at once."""
    from clgkit.errors import DataError
    from clgkit.segmentation.annotations import split_annotations

    annotations: list[Annotation] = []
    faults = []
    for stack in stacks:
        try:
            annotations += _annotations(stack, given)
        except (ValueError, DataError) as error:
            faults.append(f"\n  - {stack.name}: {error}")
    if faults:
        raise DataError(f"Some images cannot be learnt from:{''.join(faults)}")
    return split_annotations(annotations, share=given["held_out"], seed=given["seed"])


def _annotations(stack: AnnotatedStack, given: dict[str, Any]) -> list[Annotation]:
    import numpy as np

    from clgkit.segmentation.annotations import annotated_slices, annotated_volume

    pixels = stack.image.read()
    _check_pixels(pixels, noise_is_fine=given["ignore_noise"])
    lateral = given["diameter_um"]
    size: dict[str, Any] = {
        "voxel_um": _voxel(stack, given["voxel_um"]),
        "diameter_um": (lateral * given["elongation"], lateral, lateral),
    }
    n_slices = len(pixels)
    as_volume = n_slices > 1 and (
        len(stack.planes) == n_slices or given["empty_slices"] == "background"
    )
    if not as_volume:
        return annotated_slices(stack.name, pixels, stack.planes, **size)
    labels = np.zeros(pixels.shape, np.uint32)
    for z, plane in stack.planes.items():
        labels[z] = plane
    return [annotated_volume(stack.name, pixels, labels, **size)]


def _check_pixels(pixels: npt.NDArray[np.generic], *, noise_is_fine: bool) -> None:
    import numpy as np

    if pixels.dtype.kind not in "uif":
        raise ValueError(f"pixels are real numbers; found {pixels.dtype}")
    if not np.isfinite(pixels).all():
        raise ValueError("it holds NaN or infinity; fill these pixels first")
    if np.ptp(pixels) == 0:
        raise ValueError("all of its pixels are equal")
    if not noise_is_fine:
        refuse_noise(pixels[len(pixels) // 2])


def _voxel(
    stack: AnnotatedStack, given: tuple[float, float, float] | None
) -> tuple[float, float, float]:
    """Return the voxel size; along z it does not matter to a single slice."""
    if given is not None:
        return given
    said = stack.image.voxel_um or (None, None, None)
    z, y, x = said
    if stack.image.shape[0] == 1 and z is None:
        z = 1.0
    if z is None or y is None or x is None:
        raise ValueError("it does not say its voxel size; give --voxel-um Z,Y,X")
    return z, y, x


def _tuner(network: NucleusNetwork, parts: HeldOut, given: dict[str, Any]) -> FineTuner:
    from clgkit.errors import as_data_error
    from clgkit.segmentation.fine_tuning import FineRecipe, FineTuner, use_one_thread

    use_one_thread()
    with as_data_error("These images cannot be learnt from"):
        learnt, held_out = ([part.learnt() for part in some] for some in parts)
        recipe = FineRecipe(
            seed=given["seed"],
            n_steps=given["n_steps"],
            peak_rate=given["learning_rate"],
            patience=given["patience"],
        )
        return FineTuner(network, learnt, held_out=held_out, recipe=recipe)


def _say_plan(parts: HeldOut, given: dict[str, Any]) -> None:
    from clgkit.segmentation.annotations import section_diameter_um

    everything = [*parts.learnt, *parts.held_out]
    section = section_diameter_um(everything)
    held = "; ".join(part.name for part in parts.held_out)
    click.echo(
        f"{_counted(parts.learnt)} to learn from, sections of typically {section:.1f} um; "
        f"held out: {held or 'nothing, so there is no score and the last weights are kept'}."
    )
    low, high = (share * given["diameter_um"] for share in SECTIONS)
    if not low <= section <= high:
        click.echo(
            f"warning: sections are {low:.2g} to {high:.2g} um across if nuclei are "
            f"{given['diameter_um']:g} um wide; these are {section:.2g}. Check --diameter-um and "
            "--voxel-um.",
            err=True,
        )


def _counted(parts: Sequence[Annotation]) -> str:
    n_slices = sum(part.at is not None for part in parts)
    n_volumes = len(parts) - n_slices
    words = []
    for n, word in ((n_slices, "slice"), (n_volumes, "volume")):
        if n:
            words.append(f"{n} {word}{'s' if n > 1 else ''}")
    return " and ".join(words)


def _score(network: NucleusNetwork, held_out: Sequence[Annotation]) -> PooledScore | None:
    from clgkit.segmentation.annotations import score_network

    return score_network(network, held_out) if held_out else None


def _said(score: PooledScore) -> str:
    return (
        f"AP {score.ap:.3f}, F1 {score.f1:.3f} on what is held out, "
        f"{score.n_predicted} nuclei found of {score.n_truth}"
    )


def _train(tuner: FineTuner, state: Path) -> None:
    from clgkit.cli.console import duration

    for progress in train(tuner, state, every_s=SAVE_EVERY_S):
        held = "" if math.isnan(progress.held_out) else f", held out {progress.held_out:.3f}"
        best = " (best)" if progress.is_best else ""
        left = f", {duration(progress.left_s)} left" if progress.left_s else ""
        click.echo(
            f"  step {progress.step} of {progress.n_steps}: loss {progress.loss:.3f}"
            f"{held}{best}{left}"
        )
    if tuner.step < tuner.recipe.n_steps:
        click.echo(f"stopped early: no better since step {tuner.best_step}")


def _notes(
    tuner: FineTuner, stacks: Sequence[AnnotatedStack], parts: HeldOut, given: dict[str, Any]
) -> dict[str, Any]:
    """Return what is written beside the network."""
    first = given["first"]
    settings = {k: v for k, v in given.items() if k != "first"}
    return {
        "made_by": f"clgkit {importlib.metadata.version('clgkit')}",
        "from": "shipped" if first is None else sha256(first.read_bytes()),
        "settings": settings,
        "steps": tuner.step,
        "best_step": tuner.best_step,
        "losses": tuner.losses,
        "looks": [{"step": step, "loss": loss} for step, loss in tuner.looks],
        "learnt": [part.name for part in parts.learnt],
        "held_out": [part.name for part in parts.held_out],
        "images": [
            {
                "name": stack.name,
                "labels": stack.n_labels,
                "labelled_slices": sorted(stack.planes),
                "image_sha256": sha256(stack.image.read().tobytes()),
                "labels_sha256": sha256(
                    b"".join(p.tobytes() for _, p in sorted(stack.planes.items()))
                ),
            }
            for stack in stacks
        ],
    }


def _verdict(tuner: FineTuner, before: PooledScore | None, after: PooledScore | None) -> str:
    if before is None or after is None:
        return ""
    if tuner.best_step == 0 or after.ap <= before.ap:
        return (
            " It does not find more on what is held out than the network it began with; "
            "keep that one, or annotate more."
        )
    return f" Step {tuner.best_step} did best."
