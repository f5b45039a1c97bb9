"""Eigenvalues of many blocks at once on a device of torch; needs the extra ``deep``."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ImportError(
        "Denoising on this device needs torch: pip install clgkit[deep]", name="torch"
    ) from error

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]


def decompose_on(blocks: Float32, *, device: str, n: int) -> tuple[Float64, Float64]:
    """Return the largest eigenvalues and the eigenvectors of a batch of blocks.

    Parameters
    ----------
    blocks : (B, T, P)
        Pixels over time, in units of their noise.
    device
        As torch names it.
    n
        How many are wanted; fewer if there are fewer.

    Returns
    -------
    (B, n), (B, n, P) float64
        Eigenvalues, falling, and eigenvectors.

    Notes
    -----
    As in the other way of computing, the smaller product of the matrix with itself is decomposed,
    in float64: the sums of squares of a long recording do not fit float32.
    """
    there = torch.from_numpy(blocks).to(device, torch.float64)
    is_tall = there.shape[2] <= there.shape[1]
    gram = there.mT @ there if is_tall else there @ there.mT
    values, found = torch.linalg.eigh(gram)
    values = values.flip(-1)[:, :n].clamp(min=0)
    vectors = found.flip(-1)[:, :, :n].mT
    if not is_tall:
        vectors = vectors @ there
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        vectors = torch.where(length > 0, vectors / length, torch.zeros_like(vectors))
    return values.cpu().numpy(), vectors.cpu().numpy()
