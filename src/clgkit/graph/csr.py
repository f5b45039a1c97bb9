"""The one form of a graph here: symmetric compressed sparse rows without self-loops."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Float64: TypeAlias = npt.NDArray[np.float64]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """Checked compressed sparse rows of one dtype each, as the compiled loops want them."""

    indptr: Int64
    """(N + 1,) row `i` is ``indices[indptr[i]:indptr[i + 1]]``."""
    indices: Int32
    """(2 M,) neighbours."""

    @property
    def n_nodes(self) -> int:
        """Number of nodes, isolated ones included."""
        return self.indptr.size - 1


def check_rows(indptr: npt.ArrayLike, indices: npt.ArrayLike) -> Rows:
    """Return the rows as int64 and int32, or say what is wrong with them.

    Symmetry and the absence of self-loops and duplicates are the caller's promise;
    :func:`clgkit.graph.from_pairs` keeps it.

    Raises
    ------
    TypeError
        If an array is not of integers.
    ValueError
        If the arrays are no compressed sparse rows.
    """
    starts, ends = np.asarray(indptr), np.asarray(indices)
    for name, array in (("indptr", starts), ("indices", ends)):
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; wanted one dimension.")
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{name} is {array.dtype}; wanted integers.")
    starts = np.ascontiguousarray(starts, np.int64)  # differences of unsigned numbers wrap
    if starts.size == 0 or starts[0] != 0 or starts[-1] != ends.size or (np.diff(starts) < 0).any():
        raise ValueError(
            f"indptr must rise from 0 to the number of entries ({ends.size}) in N + 1 steps; "
            f"found {starts.size} values from {starts[:1].tolist()} to {starts[-1:].tolist()}."
        )
    n_nodes = starts.size - 1
    if ends.size and not 0 <= int(ends.min()) <= int(ends.max()) < n_nodes:
        raise ValueError(
            f"indices run from {ends.min()} to {ends.max()}; wanted 0 to {n_nodes - 1}."
        )
    return Rows(starts, np.ascontiguousarray(ends, np.int32))
