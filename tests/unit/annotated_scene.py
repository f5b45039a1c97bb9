"""Folders of annotated slices and stacks."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from tests.unit.segmentation_scene import Scene, make_scene

SHAPE = (12, 64, 64)


def scene(seed: int = 0) -> Scene:
    return make_scene(SHAPE, n_nuclei=45, seed=seed)


def write_pair(folder: Path, name: str, image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Write an image and its masks by Cellpose's names."""
    folder.mkdir(exist_ok=True)
    axes: Any = {"metadata": {"axes": "ZYX"}} if image.ndim == 3 else {}
    tifffile.imwrite(folder / f"{name}.tif", image, **axes)
    tifffile.imwrite(folder / f"{name}_masks.tif", labels.astype(np.uint16), **axes)


def write_slices(folder: Path, n: int = 5) -> Path:
    """Write slices from the middle of a stack."""
    made = scene()
    for k in range(n):
        z = 3 + k
        write_pair(folder, f"s{k}", made.image[z].astype(np.uint16), made.labels[z])
    return folder


def write_seg(path: Path, content: Any) -> None:
    """Write a ``_seg.npy`` as Cellpose's window does."""
    np.save(path, content, allow_pickle=True)
