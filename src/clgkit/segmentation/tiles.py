"""Cut a volume into boxes with a margin, so that each gives the whole volume's answer."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Tile", "plan_tiles"]

Box = tuple[slice, slice, slice]


class Tile(NamedTuple):
    """One box of a volume, in voxels (z, y, x)."""

    core: Box
    """The voxels this tile answers for, in the volume.  Cores do not overlap and cover it."""
    padded: Box
    """The voxels to read, in the volume: the core and its halo, cut at the faces."""
    inner: Box
    """The core again, in the coordinates of the padded tile."""

    @property
    def origin(self) -> tuple[int, int, int]:
        """Place of the padded tile's first voxel in the volume."""
        z, y, x = (part.start for part in self.padded)
        return z, y, x


def plan_tiles(
    shape: tuple[int, int, int], *, core: tuple[int, int, int], halo: tuple[int, int, int]
) -> Iterator[Tile]:
    """Yield the tiles of a volume in raster order.

    Parameters
    ----------
    shape
        Size of the volume (z, y, x).
    core
        Largest size of a core (z, y, x).  Longer axes are cut into parts as equal as they can be.
    halo
        Voxels (z, y, x) added on each side, where the volume has them.

    Raises
    ------
    ValueError
        If a core is shorter than 1 or a halo shorter than 0.
    """
    if min(core) < 1 or min(halo) < 0:
        raise ValueError(
            f"a tile needs a core of at least 1 voxel and a halo of at least 0; "
            f"found core {core}, halo {halo}"
        )
    axes = []
    for length, size, margin in zip(shape, core, halo, strict=True):
        n_parts = max(1, -(-length // size))
        edges = [length * part // n_parts for part in range(n_parts + 1)]
        axes.append([_cut(a, b, margin, length) for a, b in itertools.pairwise(edges)])
    for (z, pz, iz), (y, py, iy), (x, px, ix) in itertools.product(*axes):
        yield Tile((z, y, x), (pz, py, px), (iz, iy, ix))


def _cut(start: int, stop: int, margin: int, length: int) -> tuple[slice, slice, slice]:
    low, high = max(start - margin, 0), min(stop + margin, length)
    return slice(start, stop), slice(low, high), slice(start - low, stop - low)
