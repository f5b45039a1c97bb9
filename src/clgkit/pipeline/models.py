"""What a user made elsewhere: networks, labels, the image of a bead."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clgkit import data, io
from clgkit.errors import DataError, as_data_error
from clgkit.io.cellpose import read_cellpose_weights
from clgkit.io.denoiserfile import read_denoiser
from clgkit.io.labelfile import LabelStack, open_labels
from clgkit.io.sniff import describe, kind_of
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.network import CHANNELS, NucleusNetwork

if TYPE_CHECKING:
    import numpy.typing as npt

    from clgkit.data import Labels, Volume
    from clgkit.denoising.support_net import SupportNet

CELLPOSE = ("zip", "pickle")
Spacing: TypeAlias = tuple[float, float, float]
NO_FORMAT = ("unknown", "text")
TRIED_PX = 16
WANTED = "Give the file that `clg train-nuclei` wrote, or that Cellpose 2 or 3 saved."


def open_model(path: Path | str) -> NucleusNetwork | CellposeNetwork:
    """Return the network of a file, ready to run.

    Parameters
    ----------
    path
        An ONNX file of `clg train-nuclei`, or weights that Cellpose 2 or 3 saved.

    Raises
    ------
    DataError
        If the file is missing, of another kind, of Cellpose 4, cut off, or holds NaN.
    MissingDependency
        If it is one of Cellpose and torch is not installed.

    Warns
    -----
    UserWarning
        If its name says what its weights do not show.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"The network {path} {found}. {WANTED}", code="E_PATH")
    kind = kind_of(path)
    if kind in CELLPOSE:
        return _of_cellpose(path)
    content = path.read_bytes()
    # ONNX has no mark of its own: what is nothing else may be one.
    if kind not in NO_FORMAT or _is_text(content):
        raise DataError(
            f"{path} is no network of nuclei: it is {describe(path)}. {WANTED}",
            code="E_NOT_IMAGE",
        )
    return _of_onnx(path, content)


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _of_cellpose(path: Path) -> CellposeNetwork:
    weights = read_cellpose_weights(path)
    for note in weights.notes:
        warnings.warn(note, stacklevel=3)
    try:
        return CellposeNetwork(weights.state)
    except ValueError as error:
        raise DataError(f"{path}: {error}", code="E_NOT_IMAGE") from error


def _of_onnx(path: Path, content: bytes) -> NucleusNetwork:
    network = NucleusNetwork(content)
    try:
        answer = network.run(np.zeros((CHANNELS, TRIED_PX, TRIED_PX), np.float32))
    except Exception as error:
        reason = str(error).splitlines()[0][:160]
        raise DataError(
            f"{path} is no network of nuclei, or is cut off ({reason}). Copy it again. {WANTED}",
            code="E_TRUNCATED",
        ) from error
    if not np.isfinite(answer).all():
        raise DataError(
            f"{path} holds NaN or infinity: the training that made it failed. Use an earlier file.",
        )
    return network


class _Slices:
    """The slices of a file of labels as pixels, (z, y, x) uint32."""

    def __init__(self, stack: LabelStack) -> None:
        self.stack = stack
        self.shape = stack.shape
        self.dtype = np.dtype(np.uint32)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.uint32]:
        """Return a part; every slice is checked as it is read."""
        depth, *inside = key
        chosen = range(*depth.indices(self.shape[0]))
        planes = [self.stack.plane(z)[tuple(inside)] for z in chosen]
        empty = np.empty((0, *self.shape[1:]), np.uint32)[(slice(None), *inside)]
        return np.stack(planes) if planes else empty


def read_nuclei(
    path: Path | str, *, like: Volume, axes: str | None = None, dataset: str | None = None
) -> Labels:
    """Return labels made elsewhere, to be read on demand, on the voxels of a stack.

    Parameters
    ----------
    path
        See `clgkit.io.labelfile.open_labels`.
    like
        The structural stack; the labels take their voxel size from it.
    axes, dataset
        What the file does not say.

    Returns
    -------
    Labels
        ``attrs["separate"]`` tells whether the ids of different slices are unrelated.

    Raises
    ------
    DataError
        If these are no labels, or of another shape than the stack.
    """
    stack = open_labels(path, axes=axes, dataset=dataset)
    if stack.shape != like.shape:
        raise DataError(
            f"The labels {Path(path).name} have shape {stack.shape} (z, y, x), and the structural "
            f"stack has {like.shape}; give the labels of this stack.",
            code="E_SHAPE",
        )
    made: Labels = data.labels(_Slices(stack), voxel_um=data.voxel_um(like))
    made.attrs["separate"] = stack.separate
    made.attrs["notes"] = list(stack.image.notes)
    return made


def read_bead(
    path: Path | str,
    *,
    like: Volume,
    axes: str | None = None,
    voxel_um: Spacing | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
) -> Volume:
    """Return the image of a bead, whose voxels are those of a stack where nothing says their size.

    Parameters
    ----------
    path
        An image file.
    like
        The structural stack.
    axes, voxel_um, dataset, channel
        What the file does not say.

    Raises
    ------
    DataError
        If this is no image of one time point.
    """
    image = io.open_image(path, axes=axes, dataset=dataset, channel=channel)
    z, y, x = voxel_um or image.voxel_um or (None, None, None)
    theirs = data.voxel_um(like)
    said = theirs if y is None or x is None else (z or theirs[0], y, x)
    made: Volume = io.as_volume(image, voxel_um=said)
    return made.rename("psf")


def open_denoiser(path: Path | str) -> SupportNet:
    """Return the denoising network of a file.

    Parameters
    ----------
    path
        A file of `clg train-denoiser`, or published weights of SUPPORT.

    Raises
    ------
    ClgError
        If torch is not installed, or the file holds no such network.
    """
    path = Path(path)
    found = read_denoiser(path)
    from clgkit.denoising.support_net import build_network  # noqa: PLC0415  (loads torch)

    with as_data_error(path.name):
        return build_network(found.state, sizes=found.configuration.get("layout"))
