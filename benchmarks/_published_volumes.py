"""Volumes of nuclei that others published, and what is said about each."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

Stack: TypeAlias = npt.NDArray[np.generic]

PIXELS = (1.0, 1.0, 1.0)
VOLUMES = Path(__file__).parents[2] / "shared" / "data" / "volumes"


class Case(NamedTuple):
    """A stack, its truth if there is one, and what is said about it."""

    image: Stack
    truth: npt.NDArray[np.integer] | None
    voxel_um: tuple[float, float, float]
    diameter_um: tuple[float, float, float]


def _opened(name: str) -> npt.NDArray[Any]:
    return np.asarray(tifffile.imread(VOLUMES / name))


def _stardist() -> Case:
    raw, truth = _opened("stardist_img3d.tif"), _opened("stardist_mask3d.tif")
    return Case(raw, truth, PIXELS, (7.0, 15.0, 14.0))


def _gonuclear() -> Case:
    with h5py.File(VOLUMES / "gonuclear_1135_mini.h5") as file:
        return Case(file["raw"][:], file["label"][:], (0.284, 0.127, 0.127), (6.0, 4.0, 4.0))


def _embryo(cells: int, diameter: tuple[float, float, float]) -> Case:
    truth = ndimage.label(_opened(f"qcanet_{cells}cell_nsn.tif") > 0)[0]
    return Case(_opened(f"qcanet_{cells}cell_raw.tif"), truth, PIXELS, diameter)


def _plant(number: int) -> Case:
    truth = _opened(f"plantseg_rgb_3D_{number}_segm.tiff")
    # The median extent of the nuclei that no face cuts.
    return Case(_opened(f"plantseg_rgb_3D_{number}.tiff"), truth, PIXELS, (34.0, 29.0, 28.0))


def _brain() -> Case:
    return Case(_opened("cellseg3d_c5image_nolabel.tif"), None, PIXELS, (8.0, 8.0, 8.0))


def _root() -> Case:
    with np.load(VOLUMES / "plantseg_lateralrootnuclei_nolabel.npz") as file:
        image = np.squeeze(file[file.files[0]])
    return Case(image, None, PIXELS, (30.0, 34.0, 34.0))  # by eye


REAL: dict[str, Callable[[], Case]] = {
    "StarDist demo": _stardist,
    "gonuclear 1135": _gonuclear,
    "qcanet 8-cell": partial(_embryo, 8, (15.0, 16.0, 16.0)),
    "qcanet 16-cell": partial(_embryo, 16, (11.0, 17.0, 17.0)),
    "plantseg 0": partial(_plant, 0),
    "plantseg 1": partial(_plant, 1),
    "cellseg3d c5": _brain,
    "plantseg lateral root": _root,
}
