"""Contrast normalization on a device of torch; this module needs the extra ``deep``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ImportError(
        "Contrast normalization on this device needs torch: pip install clgkit[deep]", name="torch"
    ) from error

if TYPE_CHECKING:
    from clgkit.contrast.window import Window

Float32: TypeAlias = npt.NDArray[np.float32]


class DeviceSums:
    """Sums along z of a window's slices, in float64 on a device.

    Parameters
    ----------
    shape
        (Y, X) of the slices.
    window
        Of the neighbourhood.
    device
        As torch names it.
    """

    def __init__(self, shape: tuple[int, ...], window: Window, device: str) -> None:
        self.window = window
        self.device = torch.device(device)
        self._sums = torch.zeros(2, *shape, dtype=torch.float64, device=self.device)

    def load(self, pixels: npt.NDArray[Any]) -> torch.Tensor:
        """Return a slice on the scale of the sums."""
        # torch knows few operations on unsigned integers: they travel as they are all the same.
        native = pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels
        there = torch.tensor(native, device=self.device).to(torch.float64)
        if pixels.dtype == np.uint16:
            there = torch.where(there < 0, there + 65536, there)
        w = self.window
        return ((there - w.low) * w.gain).clamp(-w.bound, w.bound)

    def change(self, loaded: torch.Tensor, sign: int) -> None:
        """Add a slice to the sums, or take it away."""
        self._sums[0].add_(loaded, alpha=sign)
        self._sums[1].addcmul_(loaded, loaded, value=sign)

    def compare(self, loaded: torch.Tensor) -> Float32:
        """Return a slice less its local mean, over its local deviation."""
        boxes, n_voxels = self._sums, 1
        for axis, radius in zip((None, 1, 2), self.window.radius, strict=True):
            n_voxels *= 2 * radius + 1
            boxes = boxes if axis is None else _slide(boxes, radius, axis)
        mean, square = boxes / n_voxels
        variance = (square - mean**2).clamp(min=0)
        made = (loaded - mean) / (variance + self.window.floor).sqrt()
        return np.asarray(made.to(torch.float32).cpu().numpy())


def normalize_plane(pixels: npt.NDArray[Any], window: Window, device: str) -> Float32:
    """Return a plane with even contrast.

    Parameters
    ----------
    pixels : (Y, X)
        From `clgkit.contrast.window.check_plane`.
    window
        Without depth.
    device
        As torch names it.
    """
    sums = DeviceSums(pixels.shape, window, device)
    loaded = sums.load(pixels)
    sums.change(loaded, 1)
    return sums.compare(loaded)


def _slide(planes: torch.Tensor, radius: int, axis: int) -> torch.Tensor:
    """Return the sums of a mirrored window along an axis, from one running sum."""
    size = planes.shape[axis]
    at = torch.arange(-radius - 1, size + radius, device=planes.device) % (2 * size)
    at = torch.where(at < size, at, 2 * size - 1 - at)
    running = planes.index_select(axis, at).cumsum(axis)
    return running.narrow(axis, 2 * radius + 1, size) - running.narrow(axis, 0, size)
