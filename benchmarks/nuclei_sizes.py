"""Sizes and spacing of nuclei: the stacks that the shipped network learnt from, beside real ones.

The real ones are those of NucleusAI: seven volumes of a mouse brain under two photons, one with
labels and six with tables of shapes.  No voxel size is told, so every axis is measured in median
extents of nuclei that no face cuts.  In that space volumes are compared by their coefficient of
variation, spacing by the distance to the nearest centre over the diameter of a sphere of the
median volume.  Another animal and another tissue, outlined by hand with the axial blur; what is
asked is whether such nuclei are strange to the simulator.
"""

import ast
import csv
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage
from scipy.spatial import KDTree

from benchmarks.harness import Figure, Size
from clgkit.segmentation.tidy import relabel
from clgkit.simulate.curriculum import draw_recipe, make_stack

Float64: TypeAlias = npt.NDArray[np.float64]
Bool: TypeAlias = npt.NDArray[np.bool_]

VOLUMES = Path(__file__).parents[2] / "shared" / "data" / "volumes"
SEED = 20  # of models/nuclei/train.py
N_STACKS = 60
FEWEST = 10  # whole nuclei of a volume that counts
RANGE = (5, 95)  # percentiles of the simulated stacks


class Nuclei(NamedTuple):
    """The nuclei of a volume, lengths in voxels."""

    volumes: Float64
    """(n,)"""
    extents: Float64
    """(n, 3)"""
    centers: Float64
    """(n, 3)"""
    whole: Bool
    """(n,) whether no face cuts it."""


class Spread(NamedTuple):
    """What is compared."""

    volume_cv: float
    """Standard deviation over mean of the volumes of whole nuclei."""
    spacing: float
    """Median distance of a whole nucleus to the nearest centre, in diameters."""


def spread_of(nuclei: Nuclei) -> Spread | None:
    """Return the spread of a volume; None where too few nuclei are whole."""
    whole = nuclei.whole
    if whole.sum() < FEWEST:
        return None
    extent = np.quantile(nuclei.extents[whole], 0.5, axis=0)
    scaled, volumes = nuclei.centers / extent, nuclei.volumes[whole]
    distances = np.asarray(KDTree(scaled).query(scaled[whole], k=2)[0])
    nearest = float(np.median(distances[:, 1]))
    diameter = math.cbrt(6 / math.pi * float(np.median(volumes)) / float(np.prod(extent)))
    return Spread(float(volumes.std() / volumes.mean()), nearest / diameter)


def nuclei_of_labels(labels: npt.NDArray[np.integer]) -> Nuclei:
    """Return the nuclei of a label volume."""
    compact, _ = relabel(labels.astype(np.uint32))
    sizes = np.bincount(compact.ravel())[1:]
    ends = np.array(
        [[(part.start, part.stop) for part in box] for box in ndimage.find_objects(compact)]
    ).reshape(-1, 3, 2)
    whole = np.all((ends[..., 0] > 0) & (ends[..., 1] < labels.shape), axis=1)
    centers = ndimage.center_of_mass(compact > 0, compact, np.arange(1, sizes.size + 1))
    extents = (ends[..., 1] - ends[..., 0]).astype(np.float64)
    return Nuclei(sizes.astype(np.float64), extents, np.reshape(centers, (-1, 3)), whole)


def nuclei_of_table(path: Path) -> Nuclei:
    """Return the nuclei of a table of PyRadiomics; a label that comes twice counts once."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list({row["Label"]: row for row in csv.DictReader(file)}.values())
    boxes = [ast.literal_eval(row["diagnostics_Mask-original_BoundingBox"]) for row in rows]
    return Nuclei(
        np.array([float(row["original_shape_VoxelVolume"]) for row in rows]),
        np.array([box[:2:-1] for box in boxes], np.float64),  # x, y, z, then the extents
        np.array([[float(row[f"Centroid_{axis}"]) for axis in "ZYX"] for row in rows]),
        np.array([row["BorderTouching"] == "0" for row in rows]),
    )


def real_volumes() -> Iterator[Nuclei]:
    """Yield the nuclei of each published volume that is at hand."""
    labels = VOLUMES / "nucleusai_2p_H2BeGFP_labels_only.tif"
    if labels.exists():
        yield nuclei_of_labels(np.asarray(tifffile.imread(labels)))
    for path in sorted(VOLUMES.glob("nucleusai_pyradiomics_*.csv")):
        yield nuclei_of_table(path)


def simulated_volumes(n: int) -> Iterator[Nuclei]:
    """Yield the nuclei of stacks that the shipped network learnt from."""
    for number in range(n):
        recipe = draw_recipe(seed=SEED, number=number)
        yield nuclei_of_labels(make_stack(recipe, seed=SEED, number=number).labels)


@cache
def spreads(size: Size) -> tuple[Float64, Float64]:
    """Return real and simulated spreads, (volumes, 2); simulated ones alone at toy size."""
    made = list(simulated_volumes(N_STACKS if size == "full" else 3))
    known = made if size == "toy" else real_volumes()
    real, simulated = ([s for s in map(spread_of, part) if s] for part in (known, made))
    return np.array(real).reshape(-1, 2), np.array(simulated).reshape(-1, 2)


def _inside(size: Size, column: int, words: str) -> Figure:
    real, simulated = (part[:, column] for part in spreads(size))
    if not real.size:
        return Figure(f"{words} (not at hand)", "share", math.nan, target=1.0, better="higher")
    low, high = np.percentile(simulated, RANGE)
    label = (
        f"{words}: {len(real)} real volumes ({real.min():.2f} to {real.max():.2f}) inside the "
        f"simulated range ({low:.2f} to {high:.2f})"
    )
    share = float(((real >= low) & (real <= high)).mean())
    return Figure(label, "share", share, target=1.0, better="higher")


def figure_volume_cv(size: Size) -> Figure:
    """Coefficient of variation of the volumes of nuclei."""
    return _inside(size, 0, "CV of nuclear volume")


def figure_spacing(size: Size) -> Figure:
    """Distance to the nearest nucleus, in diameters."""
    return _inside(size, 1, "nearest nucleus, diameters")
