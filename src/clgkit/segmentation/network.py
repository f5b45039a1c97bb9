"""The default way to nuclei: a small network, trained by us, and ascent on its distance map.

The steps are separate so that a large stack can be streamed:

1. `network_statistics` of every block of slices, joined by `join_statistics`;
2. :func:`predict_nuclei` of every block of slices: two maps, as large as the stack;
3. `find_network_seeds` of every tile of the maps; keep those in the core, number them all;
4. `grow_network_nuclei` of every tile; keep the labels in the core.

:func:`segment_network` does just that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
from scipy.special import expit

from clgkit.segmentation.blobs import Size
from clgkit.segmentation.network_grid import (
    NetworkGrid,
    combine_slices,
    network_grid,
    resample_plane,
)
from clgkit.segmentation.network_input import (
    ShownSlices,
    SliceScaling,
    join_statistics,
    network_slices,
    network_statistics,
)
from clgkit.segmentation.network_objects import (
    DISTANCE_LEVELS,
    FOREGROUND_LEVELS,
    MIN_PEAK,
    MIN_PROBABILITY,
    MIN_VOLUME_SHARE,
    Confidence,
    find_network_seeds,
    grow_network_nuclei,
    join_confidence,
    measure_confidence,
    network_halo_voxels,
)
from clgkit.segmentation.network_scale import estimate_diameter
from clgkit.segmentation.tidy import relabel
from clgkit.segmentation.tiles import Tile, plan_tiles

__all__ = [
    "NetworkMaps",
    "NetworkNuclei",
    "NucleusNetwork",
    "predict_nuclei",
    "segment_network",
    "shipped_network",
]

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt8: TypeAlias = npt.NDArray[np.uint8]

CHANNELS = 8
STRIDE = 4  # nodes: the network halves a plane twice
MARGIN = 32  # nodes: no output depends on an input further away
WIDEST = 256  # nodes: wider planes are cut, always at the same places; costs nothing, saves memory
SLAB = 16  # slices of a block of `segment_network`
SHOWN = 4  # slices whose input is held at a time
BATCH = 16  # windows that another device than the processor works on together


@dataclass(frozen=True)
class NucleusNetwork:
    """A trained network.

    Parameters
    ----------
    weights
        The bytes of an ONNX file with the input (n, 8, H, W) and the output (n, 2, H, W).
    device
        ``"cpu"`` runs it on onnxruntime; every other name is a device of torch, such as
        ``"cuda"``, which needs the extra ``deep``.

    Notes
    -----
    It travels between processes as bytes; each makes a session of its own.  One thread, in a
    fixed order of summation: the same processor gives the same numbers.  Outputs of torch differ
    from those of onnxruntime by less than 1e-4.
    """

    weights: bytes
    device: str = "cpu"

    @cached_property
    def session(self) -> Any:
        """The session of onnxruntime."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it would keep the largest plane's memory
        try:
            session = onnxruntime.InferenceSession(
                self.weights, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ValueError(
                f"the {len(self.weights)} bytes of weights are no ONNX network "
                f"({str(error).splitlines()[0]}); give a file written by clgkit"
            ) from error
        found = [
            tuple(session.get_inputs()[0].shape[1:2]),
            tuple(session.get_outputs()[0].shape[1:2]),
        ]
        if found != [(CHANNELS,), (2,)]:
            raise ValueError(
                f"the network has {found[0]} channels in and {found[1]} out, wanted 8 and 2; "
                "give a file written by clgkit"
            )
        return session

    @cached_property
    def module(self) -> Any:
        """The network as torch has it, on its device.

        Raises
        ------
        ImportError
            If torch or onnx is missing.
        """
        from clgkit.segmentation.training_graph import read_onnx  # noqa: PLC0415  (an extra)

        return read_onnx(self.weights).to(self.device).eval()

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "device": self.device}

    def run(self, channels: Float32) -> Float32:
        """Return log-odds and distance (2, H, W) of one slice.

        Parameters
        ----------
        channels : (8, H, W)
            As `ShownSlices.stack` gives them; H and W are multiples of 4.
        """
        result: Float32
        if self.device == "cpu":
            name = self.session.get_inputs()[0].name
            result = self.session.run(None, {name: channels[None]})[0][0]
        else:
            result = self.run_together(channels[None])[0]
        return result

    def run_together(self, channels: Float32) -> Float32:
        """Return log-odds and distance (n, 2, H, W) of slices (n, 8, H, W)."""
        if self.device == "cpu":
            return np.stack([self.run(one) for one in channels])
        from clgkit.segmentation.training_graph import answer_together  # noqa: PLC0415  (an extra)

        result: Float32 = answer_together(self.module, channels)
        return result


class NetworkMaps(NamedTuple):
    """What the network says of every voxel."""

    foreground: UInt8
    """(Z, Y, X): probability of a nucleus, times 255."""
    distance: UInt8
    """(Z, Y, X): distance to the surface over its maximum, times 200."""


class NetworkNuclei(NamedTuple):
    """What :func:`segment_network` gives."""

    labels: UInt32
    """(Z, Y, X): 0 is background; ids are 1, 2, ... in the raster order of their seeds."""
    confidence: Confidence
    diameter_um: tuple[float, float, float]
    """The diameter (z, y, x) that was given or estimated."""


def shipped_network() -> NucleusNetwork:
    """Return the network that comes with this package."""
    folder = resources.files("clgkit.segmentation") / "weights"
    return NucleusNetwork((folder / "nuclei.onnx").read_bytes())


def predict_nuclei(
    block: npt.NDArray[np.generic],
    *,
    network: NucleusNetwork,
    grid: NetworkGrid,
    scaling: SliceScaling,
    first_slice: int = 0,
    core: slice | None = None,
) -> NetworkMaps:
    """Run the network over a block of slices.

    Parameters
    ----------
    block : (Z, Y, X)
        Fluorescence: whole slices with a halo of ``grid.halo_slices``, any real dtype.
    network
        See :func:`shipped_network`.
    grid, scaling
        Of the whole stack, from `network_grid` and `join_statistics`.
    first_slice
        Where the block begins in the stack.
    core
        The slices of the block that are asked for; None: all that have their halo.

    Returns
    -------
    NetworkMaps
        As large as the block; 0 outside of the core.

    Notes
    -----
    The network sees a grid of 6 x 12 x 12 nodes per diameter; its two maps come back to the voxels
    by linear interpolation, and nuclei are found there.  A value depends neither on the block nor
    on its halo, bit for bit.
    """
    start, stop, _ = (core or grid.core_of(first_slice, len(block))).indices(len(block))
    foreground = np.zeros(block.shape, np.uint8)
    distance = np.zeros(block.shape, np.uint8)
    along, rows, columns = (grid.back(axis) for axis in range(3))
    wanted = along.sources[first_slice + start : first_slice + stop]
    if wanted.size == 0:
        return NetworkMaps(foreground, distance)
    low, high = int(wanted.min()), int(wanted.max()) + 1
    maps = np.empty((2, high - low, *grid.shape[1:]), np.float32)
    together = 1 if network.device == "cpu" else BATCH
    for chunk in _parts(range(low, high), max(SHOWN, together)):
        # What a slice needs of its neighbours is made again for every chunk: that costs little.
        shown = network_slices(
            block,
            grid=grid,
            scaling=scaling,
            nodes=(chunk.start, chunk.stop),
            first_slice=first_slice,
        )
        for nodes in _parts(chunk, together):
            maps[:, nodes.start - low : nodes.stop - low] = _predict_slices(network, shown, nodes)
        del shown  # before there is another one
    for k in range(start, stop):
        for part, levels, out in zip(
            maps, (FOREGROUND_LEVELS, DISTANCE_LEVELS), (foreground, distance), strict=True
        ):
            plane = combine_slices(part, along, first_slice + k, low)
            plane = resample_plane(plane, rows, columns)
            out[k] = np.clip(np.rint(plane * levels), 0, 255)
    return NetworkMaps(foreground, distance)


def _parts(whole: range, length: int) -> Iterator[range]:
    for start in range(whole.start, whole.stop, length):
        yield range(start, min(start + length, whole.stop))


def _predict_slices(network: NucleusNetwork, shown: ShownSlices, nodes: range) -> Float32:
    """Return probability and distance (2, n, H, W) of slices of the grid."""
    height, width = shown.whole.shape[1:]
    padded_shape = (height + -height % STRIDE, width + -width % STRIDE)
    result = np.empty((len(nodes), 2, *padded_shape), np.float32)
    for core, padded, inner in _windows(padded_shape):
        seen = ShownSlices(shown.first, shown.local[:, *padded], shown.whole[:, *padded])
        window = np.stack([seen.stack(node) for node in nodes])
        beyond = [(0, part.stop - part.start - n)
                  for part, n in zip(padded, window.shape[2:], strict=True)]  # fmt: skip
        window = np.pad(window, [(0, 0), (0, 0), *beyond], mode="edge")
        result[:, :, *core] = network.run_together(window)[:, :, *inner]
    result = result[..., :height, :width]
    return np.stack([expit(result[:, 0]), result[:, 1]])


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], ...]]:
    """Cut a plane into windows on multiples of the network's stride."""
    coarse = (1, shape[0] // STRIDE, shape[1] // STRIDE)
    core, halo = WIDEST // STRIDE, MARGIN // STRIDE
    for tile in plan_tiles(coarse, core=(1, core, core), halo=(0, halo, halo)):
        yield tuple(
            tuple(slice(STRIDE * part.start, STRIDE * part.stop) for part in box[1:])
            for box in (tile.core, tile.padded, tile.inner)
        )


def segment_network(
    volume: npt.NDArray[np.generic],
    *,
    voxel_um: tuple[float, float, float],
    diameter_um: Size | None = None,
    network: NucleusNetwork | None = None,
    threshold: float = MIN_PROBABILITY,
    peak: float = MIN_PEAK,
    min_volume_share: float = MIN_VOLUME_SHARE,
    slab_px: int = SLAB,
) -> NetworkNuclei:
    """Segment the nuclei of a stack with the network.

    Parameters
    ----------
    volume : (Z, Y, X)
        Fluorescence of the nuclear channel, arbitrary units, any real dtype.
    voxel_um
        Size of a voxel (z, y, x).
    diameter_um
        Diameter of a nucleus as it looks in the stack; one number, or (z, y, x) where the optics
        stretch it.  None: it is estimated, see `estimate_diameter`.
    network
        None: the one that comes with the package.
    threshold, peak
        See `find_network_seeds`.
    min_volume_share
        See `grow_network_nuclei`.
    slab_px
        Slices of the internal blocks; it bounds the memory and changes nothing else.

    Raises
    ------
    ValueError
        If the volume is not 3-D, holds NaN or infinity, or a nucleus is less than 4 or more than
        40 pixels across.
    TypeError
        If the volume is not made of real numbers.

    Notes
    -----
    The maps take 2 and the labels 4 bytes a voxel here; the separate steps need none of them whole.
    """
    if volume.ndim != 3:
        raise ValueError(f"a volume has the axes z, y, x; found an array of shape {volume.shape}")
    network = network or shipped_network()
    z, y, x = volume.shape
    if diameter_um is None:
        diameter_um = estimate_diameter(volume, voxel_um=voxel_um).diameter_um
    said = tuple(np.broadcast_to(diameter_um, 3).astype(float).tolist())
    if volume.size == 0:
        nothing = np.zeros((z, y, x), np.uint32)
        empty = measure_confidence(
            nothing, nothing.astype(np.uint8), nothing.astype(np.uint8), n_nuclei=0
        )
        return NetworkNuclei(nothing, empty, said)
    size: dict[str, Any] = {"voxel_um": voxel_um, "diameter_um": diameter_um}
    maps = _whole_maps(volume, network_grid((z, y, x), **size), network, slab_px)
    halo = network_halo_voxels(**size)
    tiles = list(plan_tiles((z, y, x), core=(64, 256, 256), halo=halo))
    places = _all_seeds(maps, tiles, {**size, "threshold": threshold, "peak": peak})
    ids = np.arange(1, len(places) + 1, dtype=np.uint32)
    labels = np.zeros((z, y, x), np.uint32)
    for tile in tiles:
        here = _inside(places, tile.padded)
        labels[tile.core] = grow_network_nuclei(
            maps.foreground[tile.padded],
            maps.distance[tile.padded],
            places[here] - tile.origin,
            ids[here],
            threshold=threshold,
            min_volume_share=min_volume_share,
            **size,
        )[tile.inner]
    labels = relabel(labels).labels
    n = int(labels.max())
    confidence = join_confidence(
        measure_confidence(
            labels[t.core], maps.foreground[t.core], maps.distance[t.core], n_nuclei=n
        )
        for t in tiles
    )
    return NetworkNuclei(labels, confidence, said)


def _whole_maps(
    volume: npt.NDArray[np.generic], grid: NetworkGrid, network: NucleusNetwork, slab_px: int
) -> NetworkMaps:
    slabs = list(
        plan_tiles(grid.shape_px, core=(slab_px, *grid.shape_px[1:]), halo=(grid.halo_slices, 0, 0))
    )
    scaling = join_statistics(
        (
            network_statistics(
                volume[slab.padded], grid=grid, first_slice=slab.origin[0], core=slab.inner[0]
            )
            for slab in slabs
        ),
        grid=grid,
    )
    maps = NetworkMaps(np.empty(volume.shape, np.uint8), np.empty(volume.shape, np.uint8))
    for slab in slabs:
        made = predict_nuclei(
            volume[slab.padded],
            network=network,
            grid=grid,
            scaling=scaling,
            first_slice=slab.origin[0],
            core=slab.inner[0],
        )
        maps.foreground[slab.core] = made.foreground[slab.inner]
        maps.distance[slab.core] = made.distance[slab.inner]
    return maps


def _all_seeds(maps: NetworkMaps, tiles: list[Tile], options: dict[str, Any]) -> Int64:
    """Return the (n, 3) seeds of the volume in raster order."""
    found = [np.empty((0, 3), np.int64)]
    for tile in tiles:
        places = find_network_seeds(
            maps.foreground[tile.padded], maps.distance[tile.padded], **options
        ).places
        places = places + tile.origin
        found.append(places[_inside(places, tile.core)])
    places = np.concatenate(found)
    return places[np.lexsort(places.T[::-1])]


def _inside(places: Int64, box: tuple[slice, slice, slice]) -> npt.NDArray[np.bool_]:
    low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
    inside: npt.NDArray[np.bool_] = np.all((places >= low) & (places < high), axis=1)
    return inside
