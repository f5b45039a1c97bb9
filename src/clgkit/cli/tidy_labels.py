"""``clg tidy-labels``: labels put in order, and what became of each id."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from clgkit.cli.init import Spacing
from clgkit.cli.plain import FILES, new_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clgkit.io.labelfile import LabelStack
    from clgkit.segmentation.tidy_steps import Slices, Tidied, TidyRules

TABLE = ".ids.csv"
TEXTS = {
    "merged": "{n:,} merged into others",
    "split": "{n:,} more by splitting",
    "piece": "{n:,} more by separating pieces",
    "smoothed away": "{n:,} smoothed away",
    "border": "{n:,} on the border",
    "small": "{n:,} smaller than {least:g} um^3",
    "below median": "{n:,} below {low:g} of the median",
    "above median": "{n:,} above {high:g} times the median",
}
EPILOG = """\b
Examples:
    clg tidy-labels labels.tif tidy.tif
    clg tidy-labels labels.tif tidy.tif --fill --smooth 1 --pieces largest
    clg tidy-labels labels.tif tidy.tif --min-um3 20 --border drop --voxel-um 1,0.4,0.4
    clg tidy-labels labels.zarr tidy.npy --of-median 0.12,5 --map ids.csv
    clg tidy-labels labels.tif tidy.tif --merge 3,4 --merge 7,9,12 --split 10
"""


class Ids(click.ParamType[tuple[int, ...]]):
    """Ids of objects, such as ``3,4``."""

    name = "ID,ID,..."

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the ids."""
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of ids such as 3,4 (0 is background)", param, ctx)
        ids = tuple(dict.fromkeys(map(int, parts)))
        if len(ids) < self.least:
            self.fail(f"{value!r} is not {self.least} ids or more, such as 3,4", param, ctx)
        return ids


class Shares(click.ParamType[tuple[float, float]]):
    """Two shares of the median volume, such as ``0.12,5``."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, float]:
        """Return the numbers."""
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            low = high = math.nan
        if not 0 <= low < high:
            self.fail(f"{value!r} is not two rising shares such as 0.12,5", param, ctx)
        return low, high


@click.command("tidy-labels", epilog=EPILOG)
@click.argument("labels", type=FILES)
@click.argument("output", type=FILES)
@click.option("--merge", type=Ids(2), multiple=True, help="Make these ids one object; repeatable.")
@click.option("--split", type=Ids(), multiple=True, help="Split each of these ids at its waists.")
@click.option("--parts", "n_parts", type=click.IntRange(2), default=2, show_default=True,
              help="How many parts each id of --split has.")  # fmt: skip
@click.option("--fill", is_flag=True,
              help="Fill holes of background, in every slice and then in 3-D.")  # fmt: skip
@click.option("--smooth", type=click.IntRange(0), default=0, metavar="ROUNDS",
              help="Even out surfaces so often; a round looks one voxel around.")  # fmt: skip
@click.option("--smooth-by", "smoothing", type=click.Choice(["majority", "opening"]),
              default="majority", show_default=True,
              help="By most of 3 x 3 x 3 voxels, or by what a cross of 7 can reach.")  # fmt: skip
@click.option("--pieces", type=click.Choice(["keep", "largest", "separate"]), default="keep",
              show_default=True,
              help="Of objects in pieces keep all or the largest, or give each an id.")  # fmt: skip
@click.option("--border", type=click.Choice(["keep", "drop"]), default="keep", show_default=True,
              help="What touches a face of the volume.")  # fmt: skip
@click.option("--min-um3", type=click.FloatRange(0, min_open=True),
              help="Drop what is smaller, in cubic micrometres.")  # fmt: skip
@click.option("--of-median", type=Shares(),
              help="Drop what has less or more of the median volume.")  # fmt: skip
@click.option("--voxel-um", "voxel", type=Spacing(), help="Voxel size in um, if no file says it.")
@click.option("--axes", help='Order of the axes of LABELS, "zyx" or so.')
@click.option("--dataset", help="Array of LABELS in an HDF5, zarr or npz file.")
@click.option("--map", "table", type=FILES,
              help="CSV that says what became of each id.  [default: beside OUTPUT]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would change and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
def command(
    labels: Path,
    output: Path,
    *,
    table: Path | None,
    dry_run: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Put the ids and shapes of LABELS in order and write them to OUTPUT (.tif or .npy).

    LABELS is an image (TIFF, zarr, HDF5, npy, npz), a _seg.npy of Cellpose or a folder of 2-D
    masks.  Nothing is done but what is asked for, in this order: merge, split, fill, smooth,
    pieces, border, smallest volume, shares of the median.  Then ids become 1, 2, ... without
    gaps, and a table beside OUTPUT says what became of each: old_id, new_id (0: gone), fate.
    Ids to merge and to split are those of LABELS.
    """
    from clgkit.cli.console import Progress
    from clgkit.errors import DataError, as_data_error
    from clgkit.io.labelfile import open_labels
    from clgkit.segmentation.tidy_steps import tidy_labels

    table = table or output.with_name(output.stem + TABLE)
    _check_names(labels, output, table, replace=overwrite or dry_run)
    rules = _rules(given)
    stack = open_labels(labels, axes=given["axes"], dataset=given["dataset"])
    voxel = _voxel(stack, rules, given["voxel"])
    _warn(stack)
    with as_data_error(str(labels)):
        tidied = tidy_labels(_Slices(stack), rules, voxel_um=voxel, progress=Progress())
    if tidied.old_ids.size == 0:
        raise DataError(
            f"{labels}: all voxels are background, there is no object to tidy. Is this the right "
            "file or dataset?",
            code="E_SHAPE",
        )
    _show(labels, tidied, rules)
    if dry_run:
        click.echo("Nothing was written (--dry-run).")
        return
    _write(output, tidied.slices, stack.shape, voxel)
    _write_table(table, tidied)
    click.echo(f"Wrote {output}; what became of each id is in {table}.")


class _Slices:
    """The slices of a file of labels."""

    def __init__(self, stack: LabelStack) -> None:
        self.stack = stack

    def __len__(self) -> int:
        return len(self.stack)

    def __getitem__(self, z: int) -> npt.NDArray[np.uint32]:
        return self.stack.plane(z)


def _check_names(labels: Path, output: Path, table: Path, *, replace: bool) -> None:
    """Refuse names of results before the work."""
    from clgkit.cli.plain_images import check_endings
    from clgkit.errors import DataError, SettingsError
    from clgkit.io.pixels import existing, writable

    existing(labels)
    check_endings(output)
    for path, other in ((output, table), (table, output)):
        new_file(writable(path), beside=[labels, other])
        if labels.resolve() in path.resolve().parents:
            raise DataError(
                f"{path} would lie among the masks of {labels}; write it elsewhere.", code="E_PATH"
            )
        if path.exists() and not replace:
            raise SettingsError(f"{path} is there already. Replace it with --overwrite.")


def _rules(given: dict[str, Any]) -> TidyRules:
    """Return what the options ask for."""
    from clgkit.errors import SettingsError
    from clgkit.segmentation.tidy_steps import ANY_SIZE, TidyRules

    split = tuple(label for ids in given["split"] for label in ids)
    if given["n_parts"] != 2 and not split:
        raise SettingsError("--parts says how many parts the ids of --split have; name them.")
    if given["smoothing"] != "majority" and not given["smooth"]:
        raise SettingsError("--smooth-by says how --smooth smooths; say how often: --smooth 1.")
    if given["min_um3"] is not None and not math.isfinite(given["min_um3"]):
        raise SettingsError("--min-um3 has to be a volume in cubic micrometres, such as 20.")
    return TidyRules(
        merge=given["merge"],
        split=split,
        n_parts=given["n_parts"],
        fill=given["fill"],
        smooth=given["smooth"],
        smoothing=given["smoothing"],
        pieces=given["pieces"],
        border=given["border"],
        min_um3=given["min_um3"] or 0.0,
        of_median=given["of_median"] or ANY_SIZE,
    )


def _voxel(
    stack: LabelStack, rules: TidyRules, given: tuple[float, float, float] | None
) -> tuple[float, float, float] | None:
    """Return the size of a voxel, None where nobody says it and no rule needs it."""
    from clgkit.errors import SettingsError

    if given is not None and not all(0 < size < math.inf for size in given):
        raise SettingsError(f"--voxel-um has to be three positive numbers, found {given}.")
    said = given or stack.image.voxel_um
    if said is not None and None not in said:
        return cast("tuple[float, float, float]", tuple(said))
    if rules.needs_um:
        raise SettingsError(
            f"{'--min-um3' if rules.min_um3 else '--split'} needs the size of a voxel, and "
            f"{stack.image.source} does not say it: --voxel-um Z,Y,X."
        )
    return None


def _warn(stack: LabelStack) -> None:
    notes = list(stack.image.notes)
    if stack.separate:
        notes.append(
            "equal ids in different files count as one object; if the slices were labelled one by "
            "one, join them first: clg segment-nuclei STACK LABELS.tif --method import --labels "
            "FOLDER"
        )
    for note in notes:
        click.echo(f"warning: {stack.image.source}: {note}", err=True)


def _show(labels: Path, tidied: Tidied, rules: TidyRules) -> None:
    import numpy as np

    low, high = rules.of_median
    limits = {"least": rules.min_um3, "low": low, "high": high}
    before, after = np.unique(tidied.old_ids).size, int(tidied.new_ids.max())
    changes = [TEXTS[fate].format(n=n, **limits) for fate, n in tidied.objects.items() if n]
    why = f": {', '.join(changes)}" if changes else ""
    noun = "nucleus" if before == 1 else "nuclei"
    click.echo(f"{labels}: {before:,} {noun} -> {after:,}{why}.")
    if tidied.voxels:
        parts = {
            "filled": "of holes filled",
            "smoothed": "changed by smoothing",
            "dropped": "of smaller pieces dropped",
        }
        said = [f"{n:,} {parts[name]}" for name, n in tidied.voxels.items()]
        click.echo(f"Voxels: {', '.join(said)}.")
    if after == 0:
        click.echo("warning: no nucleus is left; ask for less", err=True)


class _Pixels:
    """Tidied labels as pixels to be written slice by slice."""

    def __init__(self, slices: Slices, shape: tuple[int, int, int]) -> None:
        import numpy as np

        self.slices = slices
        self.shape = shape
        self.dtype = np.dtype(np.uint32)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint32]:
        import numpy as np

        planes = [self.slices[z] for z in range(*key[0].indices(self.shape[0]))]
        return np.stack(planes)[(slice(None), *key[1:])]


def _write(
    path: Path,
    slices: Slices,
    shape: tuple[int, int, int],
    voxel: tuple[float, float, float] | None,
) -> None:
    """Write labels slice by slice; a voxel size that nobody says is not made up."""
    import numpy as np

    from clgkit import fsio, io
    from clgkit.cli.plain_images import TIFF

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": "<u4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for z in range(shape[0]):
                file.write(np.asarray(slices[z], "<u4").tobytes())

    if path.suffix.lower() in TIFF:
        io.write_tiff(path, _Pixels(slices, shape), axes="zyx", voxel_um=voxel)
    else:
        fsio.publish(path, write, lambda temporary: np.load(temporary, mmap_mode="r"))


def _write_table(path: Path, tidied: Tidied) -> None:
    from clgkit import io

    columns = {"old_id": tidied.old_ids, "new_id": tidied.new_ids, "fate": tidied.fates}
    io.write_csv(path, columns)
