"""``clg score-labels``: compare labels with the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from clgkit.cli.init import Spacing
from clgkit.cli.plain import FILES, new_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clgkit.io.labelfile import LabelStack
    from clgkit.segmentation.overlap import OverlapTable

BLOCK = 8  # slices that are stitched at once
STITCH = ("no", "chain", "cellpose")
PER_IOU = (
    "true_positives", "precision", "recall", "f1", "ap", "pq", "mean_matched_iou",
)  # fmt: skip
ONCE = (
    "n_truth", "n_predicted", "count_error", "over", "under", "seg", "vi_split", "vi_merge",
    "rand_error",
)  # fmt: skip
EPILOG = """\b
Examples:
    clg score-labels truth.tif labels.tif
    clg score-labels truth.tif labels.zarr --image stack.tif --voxel-um 1,0.4,0.4 --json score.json
    clg score-labels truth.tif folder_of_masks --stitch chain --border ignore
"""


@click.command("score-labels", epilog=EPILOG)
@click.argument("truth", type=FILES)
@click.argument("prediction", type=FILES)
@click.option("--iou", type=float, multiple=True, help="Overlap of a match; 0.5, 0.75 and 0.9.")
@click.option("--image", type=FILES, help="The stack itself, for scores by brightness.")
@click.option("--voxel-um", "voxel", type=Spacing(), help="Voxel size in um, if no file says it.")
@click.option("--radius-um", type=float, help="Also match centres that are at most so far apart.")
@click.option("--border", type=click.Choice(("keep", "ignore")), default="keep",
              help="Whether objects on the border of the volume count.")  # fmt: skip
@click.option("--stitch", type=click.Choice(STITCH), default="no",
              help="Join the slices of PREDICTION, if they were labelled apart.")  # fmt: skip
@click.option("--truth-dataset", help="Array of TRUTH in an HDF5, zarr or npz file.")
@click.option("--dataset", help="Array of PREDICTION in an HDF5, zarr or npz file.")
@click.option("--image-dataset", help="Array of the image in an HDF5, zarr or npz file.")
@click.option("--json", "written", type=FILES, help="Write all numbers to this JSON file.")
def command(truth: Path, prediction: Path, *, written: Path | None, **given: Any) -> None:
    """Compare the labels PREDICTION with the labels TRUTH, object by object.

    Both are images (TIFF, zarr, HDF5, npy, npz), a _seg.npy of Cellpose or folders of 2-D masks.
    They are read slice by slice.
    """
    from clgkit import fsio
    from clgkit.errors import DataError, SettingsError, as_data_error
    from clgkit.io.labelfile import open_labels
    from clgkit.io.pixels import writable

    if given["voxel"] is not None and not all(0 < size < math.inf for size in given["voxel"]):
        raise SettingsError(f"--voxel-um has to be three positive numbers, found {given['voxel']}.")
    if written is not None:
        images = [] if given["image"] is None else [given["image"]]
        new_file(writable(written), beside=[truth, prediction, *images])
    one = open_labels(truth, dataset=given["truth_dataset"])
    other = open_labels(prediction, dataset=given["dataset"])
    if one.shape != other.shape:
        raise DataError(
            f"{truth} has shape {one.shape} and {prediction} {other.shape}; compare labels of one "
            "volume.",
            code="E_SHAPE",
        )
    with as_data_error("labels"):
        table = _table(one, other, given)
        scores = _scores(table, _voxel(one, other, given["voxel"]), given)
    _warn(one, other, table, given)
    _show(scores)
    if written is not None:
        fsio.write_json(written, _plain({"truth": truth, "prediction": prediction, **scores}))
        click.echo(f"Wrote {written}.")


def _table(one: LabelStack, other: LabelStack, given: dict[str, Any]) -> OverlapTable:
    from clgkit.segmentation.overlap import overlap_table

    pairs = zip(one, _joined(other, given["stitch"]), strict=True)
    if given["image"] is None:
        return overlap_table(pairs)
    return overlap_table(pairs, image=_planes(given["image"], given["image_dataset"], one.shape))


def _joined(stack: LabelStack, rule: str) -> Iterator[npt.NDArray[np.uint32]]:
    import numpy as np

    from clgkit.segmentation.stitch import SectionTable, find_chains, iterate_like_cellpose

    if rule == "no":
        yield from stack
    elif rule == "cellpose":
        yield from iterate_like_cellpose(stack)
    else:
        table = SectionTable()
        for plane in stack:
            table.add(plane)
        chains = find_chains(table)
        for first in range(0, len(stack), BLOCK):
            stop = min(first + BLOCK, len(stack))
            block = np.stack([stack.plane(z) for z in range(first, stop)])
            before = stack.plane(first - 1) if first else None
            after = stack.plane(stop) if stop < len(stack) else None
            yield from chains.label_block(block, first=first, before=before, after=after)


def _planes(
    path: Path, dataset: str | None, shape: tuple[int, int, int]
) -> Iterator[npt.NDArray[Any]]:
    from clgkit.errors import DataError
    from clgkit.io.labelfile import open_volume

    image = open_volume(path, dataset=dataset)
    if image.shape != shape:
        raise DataError(
            f"{path} has shape {image.shape}, the labels {shape}; give the stack they belong to.",
            code="E_SHAPE",
        )
    for z in range(shape[0]):
        yield image.pixels[(slice(z, z + 1), slice(None), slice(None))][0]


def _voxel(
    one: LabelStack, other: LabelStack, given: tuple[float, float, float] | None
) -> tuple[float, float, float] | None:
    for said in (given, one.image.voxel_um, other.image.voxel_um):
        if said is not None and None not in said:
            return cast("tuple[float, float, float]", tuple(said))
    return None


def _scores(
    table: OverlapTable, voxel: tuple[float, float, float] | None, given: dict[str, Any]
) -> dict[str, Any]:
    import numpy as np

    from clgkit.errors import SettingsError
    from clgkit.segmentation import score_groups
    from clgkit.segmentation.score import ignore_border, score_labels

    ious = given["iou"] or (0.5, 0.75, 0.9)
    scores = {f"{iou:g}": score_labels(table, iou=iou, border=given["border"]) for iou in ious}
    if given["border"] == "ignore":
        table = ignore_border(table, iou=ious[0])
    found: dict[str, Any] = {"at_iou": {name: s._asdict() for name, s in scores.items()}}
    by_depth = score_groups.score_by_depth(table, iou=ious[0])
    found["by_depth_slices"] = [group._asdict() for group in by_depth]
    if table.truth_brightness is not None:
        groups = score_groups.score_by_brightness(table, iou=ious[0])
        found["by_brightness"] = [group._asdict() for group in groups]
    if voxel is not None:
        found["axial"] = score_groups.axial_errors(table, voxel_um=voxel)._asdict()
    if given["radius_um"] is not None:
        if voxel is None:
            raise SettingsError("--radius-um needs the size of a voxel: --voxel-um Z,Y,X.")
        size = np.array(voxel)
        found["centers"] = score_groups.score_centers(
            table.truth_centers * size, table.predicted_centers * size,
            radius_um=given["radius_um"],
        )._asdict()  # fmt: skip
    return found


def _warn(one: LabelStack, other: LabelStack, table: OverlapTable, given: dict[str, Any]) -> None:
    notes = [
        f"{stack.image.source}: {note}" for stack in (one, other) for note in stack.image.notes
    ]
    for stack, ids in ((one, table.truth_ids), (other, table.predicted_ids)):
        if ids.size == 0:
            notes.append(f"{stack.image.source}: all voxels are background, there is no object")
    if other.separate and given["stitch"] == "no":
        notes.append(
            f"{other.image.source}: equal ids in different files count as one object; if the "
            "slices were labelled one by one, add --stitch chain"
        )
    for note in notes:
        click.echo(f"warning: {note}", err=True)


def _show(scores: dict[str, Any]) -> None:
    from clgkit.cli.console import show_table

    at_iou = scores["at_iou"]
    rows = [[iou, *_texts(score[k] for k in PER_IOU)] for iou, score in at_iou.items()]
    show_table("Matches", ["IoU", *map(_heading, PER_IOU)], rows)
    first = next(iter(at_iou.values()))
    once = {name: first[name] for name in ONCE}
    for name in ("axial", "centers"):
        once |= {f"{name}_{key}": value for key, value in scores.get(name, {}).items()}
    show_table("All objects", ["", ""], [[_heading(k), *_texts([v])] for k, v in once.items()])
    for name in ("by_depth_slices", "by_brightness"):
        groups: Sequence[dict[str, Any]] = scores.get(name, [])
        if groups:
            rows = [_texts(group.values()) for group in groups]
            show_table(_heading(name).capitalize(), list(map(_heading, groups[0])), rows)


def _texts(values: Any) -> list[str]:
    return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]


def _heading(name: str) -> str:
    return name.replace("_", " ").replace("iou", "IoU")


def _plain(value: Any) -> Any:
    """Return what JSON knows; NaN and infinity become null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
