"""The best rising sequence of slices for a series of planes, by dynamic programming."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class OrderedAssignment(NamedTuple):
    """One slice per plane, and how much worse the best sequence through each other one is."""

    slice_index: npt.NDArray[np.int64]
    """(P,) strictly rising."""
    through: Float64
    """(P, Z) total score of the best sequence that passes through this slice; -inf if none."""


def assign_in_order(
    scores: Float64, *, step: float | None = None, step_weight: float = 1.0
) -> OrderedAssignment:
    """Give every plane one slice so that slices rise strictly and the total score is largest.

    Parameters
    ----------
    scores : (P, Z)
        How well plane p fits slice z.  NaN counts as 0: no opinion.
    step
        Expected slices between neighbouring planes, if known.
    step_weight
        Lost per slice of deviation from `step`, in units of the scores.

    Returns
    -------
    OrderedAssignment

    Raises
    ------
    ValueError
        If there are more planes than slices, or none.

    Notes
    -----
    The best sequence maximises the sum of scores minus ``step_weight`` times the sum of
    ``|z[p + 1] - z[p] - step|``.  One pass forwards and one backwards give the best total
    through every (plane, slice): the max-marginals.
    """
    n_planes, n_slices = scores.shape
    if not 1 <= n_planes <= n_slices:
        raise ValueError(
            f"{n_planes} planes cannot take {n_slices} different slices in order; "
            "expected at least one plane and as many slices as planes."
        )
    gain = np.nan_to_num(scores, nan=0.0)
    z = np.arange(n_slices)
    ahead = z[np.newaxis, :] - z[:, np.newaxis]
    transition = np.zeros((n_slices, n_slices))
    if step is not None:
        transition -= step_weight * np.abs(ahead - step)
    transition[ahead < 1] = -np.inf
    forward, backward = gain.copy(), gain.copy()
    came_from = np.zeros((n_planes, n_slices), dtype=np.int64)
    for p in range(1, n_planes):
        reach = forward[p - 1][:, np.newaxis] + transition
        came_from[p] = reach.argmax(axis=0)
        forward[p] += reach.max(axis=0)
        q = n_planes - 1 - p
        backward[q] += (transition + backward[q + 1]).max(axis=1)
    chosen = np.empty(n_planes, dtype=np.int64)
    chosen[-1] = forward[-1].argmax()
    for p in range(n_planes - 1, 0, -1):
        chosen[p - 1] = came_from[p, chosen[p]]
    return OrderedAssignment(chosen, forward + backward - gain)
