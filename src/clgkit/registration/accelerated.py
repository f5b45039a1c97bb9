"""Torch, if it is installed, and the way of frames to a device and back.

Modules ``accelerated_*`` do with batches of frames on a GPU what their namesakes do frame by
frame on the CPU.  Templates are prepared on the CPU by the same functions; what numba does
there is written a second time, as few large operations.  Only a call with a `device` loads
these modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ImportError(
        "a device other than the cpu needs torch, which is not installed; "
        "pip install clgkit[deep], or take the cpu."
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tensor", "batches", "download", "torch", "upload"]

Tensor: TypeAlias = torch.Tensor

BATCH_PIXELS = 2**22
"""Of the frames that are on the device at once: 16 frames of 512 x 512 pixels.  A pixel takes
about 240 bytes at the most demanding step."""

TRANSFERRED = {np.dtype(code) for code in ("u1", "i1", "i2", "i4", "f2", "f4", "f8")}
"""Types that torch turns into floats; others are turned before."""


def batches(
    frames: npt.NDArray[np.generic], device: str
) -> Iterator[tuple[npt.NDArray[np.intp], Tensor]]:
    """Yield frames as they fit on a device, with their numbers.

    Parameters
    ----------
    frames : (T, Y, X)
        Any real dtype, byte order included.
    device
        As torch names it.

    Yields
    ------
    numbers : (B,)
    values : (B, Y, X) float32
    """
    size = max(1, BATCH_PIXELS // max(1, frames[:1].size))
    for start in range(0, len(frames), size):
        numbers = np.arange(start, min(start + size, len(frames)))
        part = frames[start : start + size]
        if part.dtype == np.uint16:  # torch knows few operations on it
            there = upload(part.view(np.int16), device).to(torch.int32) & 0xFFFF
        elif part.dtype in TRANSFERRED:
            there = upload(part, device)
        else:
            there = upload(part.astype(np.float32), device)
        yield numbers, there.to(torch.float32)


def upload(array: npt.NDArray[np.generic], device: str | torch.device) -> Tensor:
    """Copy an array to a device; its dtype stays."""
    return torch.tensor(np.ascontiguousarray(array), device=device)


def download(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Copy a tensor to an array; its dtype stays."""
    return np.asarray(tensor.cpu().numpy())
