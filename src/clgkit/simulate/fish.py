"""A simulated fish: stack, movies and the truth behind them, made block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit.simulate.anatomy import build_regions, place_nuclei
from clgkit.simulate.calcium import calcium_of, make_activity, neuropil_waves
from clgkit.simulate.motion import Pose, cosines, displacement, make_motion, warp
from clgkit.simulate.noise import Sensor, expose
from clgkit.simulate.optics import shading, structure_photons
from clgkit.simulate.paint import Grid, paint_labels
from clgkit.simulate.scene import Scene, build_scene, compose, nuclear_light, wave_shares
from clgkit.simulate.settings import FishSettings, plane_gaps
from clgkit.simulate.streams import Purpose, key, stream

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]

FULL_SCALE = 65535


class CutTable(NamedTuple):
    """Sections of nuclei in functional planes, sorted by plane, then nucleus."""

    nucleus: UInt32
    """(n,): label id."""
    plane: Int64
    """(n,): 0-based functional plane."""
    area_px: Int64
    """(n,): area of the section, functional pixels."""


class Fish:
    """A fish whose every answer is known.

    Parameters
    ----------
    settings
        What it is made of; see `preset`.

    Attributes
    ----------
    settings : FishSettings
    n_neurons : int
    ids : (N,) uint32
        Label ids, 1 … N, sorted by depth; row ``id - 1`` of every truth array belongs to it.
    centers_um : (N, 3) float64
        z, y, x of the nuclei; the centre of voxel (0, 0, 0) is the origin.
    module : (N,) int32
        0-based module.
    spikes : (N, T) uint8
        Spikes in each frame.
    fluorescence : (N, T) float32
        Noise-free trace of each neuron; 1 is a mean neuron at rest.
    slice_of_plane : (P,) int64
        0-based structural slice of each functional plane.
    shifts_px : (T, P, 2) float32
        Rigid shift (y, x) to apply to the content of a frame, functional pixels.
    plane_offset_px : (P, 2) float64
        Shift to apply to a plane, once still, to lay it on the structure, functional pixels.
        It is constant and not part of `shifts_px`.

    Raises
    ------
    ValueError
        If the nuclei do not fit into the brain, or the light would exceed 16 bits.

    Notes
    -----
    Frame t of a plane is ``frame(x) = still_t(x - d_t(x))``, `field` gives d, and the shift is
    minus its mean over the field.  A pixel's noise is a hash of seed, plane, frame and pixel,
    so no value depends on the block it was made in.

    Simplifications: a nucleus *is* its elongated image, a little more blur comes on top; all
    planes of a volume are seen at one moment; planes do not move along z; the nuclear channel
    takes in nothing of the other one and does not bleach; the eyes, vessels and skin are missing.

    Examples
    --------
    >>> from clgkit.simulate import Fish, preset
    >>> fish = Fish(preset("tiny", seed=1))
    >>> fish.movie_block(0, 0, 5).shape
    (5, 64, 64)
    """

    def __init__(self, settings: FishSettings) -> None:
        self.settings = settings
        self._regions = build_regions(settings)
        self._nuclei = place_nuclei(settings, self._regions)
        self._motion = make_motion(settings)
        activity = make_activity(settings, self._nuclei.centers_um)
        self.n_neurons = settings.n_neurons
        self.ids = np.arange(1, self.n_neurons + 1, dtype=np.uint32)
        self.centers_um = self._nuclei.centers_um
        self.module = activity.module
        self.spikes = activity.spikes
        self.fluorescence = activity.fluorescence
        shares = wave_shares(settings, self.centers_um[:, 1], self.centers_um[:, 2])
        self._waves = neuropil_waves(settings, activity, shares)
        rng = stream(settings.seed, Purpose.BRIGHTNESS)
        self._brightness = rng.lognormal(0.0, settings.brightness_log_sd, self.n_neurons)
        gaps = plane_gaps(settings)
        first = (settings.shape_px[0] - 1 - sum(gaps)) // 2
        self.slice_of_plane = first + np.concatenate([[0], np.cumsum(gaps, dtype=np.int64)])
        self.shifts_px = (-self._motion.rigid).astype(np.float32)
        self.plane_offset_px = self._motion.offset
        farthest = np.abs(self._motion.rigid).max() + np.abs(self._motion.offset).max()
        bend = float(np.abs(self._motion.bending).sum(axis=(3, 4)).max())
        self._margin = math.ceil(farthest + bend + abs(settings.bidirectional_px)) + 3
        self._sensor = Sensor(settings.gain, settings.offset, settings.read_noise)
        self._scene: tuple[int, Scene] | None = None
        self._nuclear: tuple[int, Float32] | None = None
        self._refuse_clipping()

    def _refuse_clipping(self) -> None:
        s = self.settings
        nuclei = max(s.nucleus_photons, s.nuclear_photons) * (
            1.3 * float(self._brightness.max()) + 1.4 * s.structure_background
        )
        change = 1 + float(self._waves.max())
        movie = s.photons * (float(self.fluorescence.max()) + 1.2 * s.neuropil * change)
        brightest = max(nuclei, movie)
        counts = s.gain * (brightest + 8 * math.sqrt(brightest)) + s.offset + 8 * s.read_noise
        if counts > FULL_SCALE:
            raise ValueError(
                f"the brightest pixel would reach {counts:.0f} counts and 16 bits hold"
                f" {FULL_SCALE}; lower gain, photons, nucleus_photons or nuclear_photons"
            )

    @cached_property
    def calcium(self) -> Float32:
        """(N, T): calcium of each neuron, in units of the peak after one spike."""
        return calcium_of(self.settings, self.spikes)

    def labels_block(self, z0: int, z1: int) -> UInt32:
        """Give the true labels of the structural slices `z0` to `z1` - 1.

        Returns
        -------
        (z1 - z0, Y, X) uint32
            Id of the nucleus in which the centre of the voxel lies, or 0.
        """
        self._check_range("slices", z0, z1, self.settings.shape_px[0])
        out = np.zeros((z1 - z0, *self.settings.shape_px[1:]), dtype=np.uint32)
        voxel = np.array(self.settings.voxel_um)
        self._paint(out, Grid(np.array([z0 * voxel[0], 0.0, 0.0]), voxel))
        return out

    def labels_at_plane(self, plane: int) -> UInt32:
        """Give the true labels of a functional plane at its own resolution.

        Returns
        -------
        (Y / 2, X / 2) uint32
            Id of the nucleus in which the centre of the functional pixel lies, or 0.  Pixel
            (i, j) has its centre at structural (2i + 0.5, 2j + 0.5).
        """
        self._check_plane(plane)
        out = np.zeros((1, *self.settings.plane_shape_px), dtype=np.uint32)
        voxel = np.array(self.settings.voxel_um)
        origin = voxel * [self.slice_of_plane[plane], 0.5, 0.5]
        self._paint(out, Grid(origin, voxel * [1, 2, 2]))
        return np.asarray(out[0])

    def _paint(self, out: UInt32, grid: Grid) -> None:
        top = float(grid.origin_um[0])
        near = self._nuclei.near(top, top + (len(out) - 1) * float(grid.step_um[0]))
        paint_labels(out, near, self._nuclei.table(), grid)

    def structure_block(self, z0: int, z1: int) -> UInt16:
        """Make the nuclear channel of the structural slices `z0` to `z1` - 1.

        Returns
        -------
        (z1 - z0, Y, X) uint16
            Counts.
        """
        s = self.settings
        self._check_range("slices", z0, z1, s.shape_px[0])
        photons = structure_photons(
            s, self._nuclei, self._regions, self._brightness, start=z0, stop=z1
        )
        out = np.empty(photons.shape, dtype=np.uint16)
        for k, z in enumerate(range(z0, z1)):
            noise = key(s.seed, Purpose.STRUCTURE_NOISE, z)
            expose(photons[k].ravel(), noise, self._sensor, out[k].reshape(-1))
        return out

    def movie_block(self, plane: int, t0: int, t1: int) -> UInt16:
        """Make the raw movie of one plane, frames `t0` to `t1` - 1.

        Returns
        -------
        (t1 - t0, y, x) uint16
            Counts, with motion and noise.
        """
        scene, canvas = self._see(plane), self._canvas()

        def still(t: int) -> Float32:
            compose(scene, self.fluorescence, self._waves, t, canvas.reshape(-1))
            return canvas

        return self._filmed(still, Purpose.MOVIE_NOISE, plane, t0, t1)

    def nuclear_block(self, plane: int, t0: int, t1: int) -> UInt16:
        """Make the raw nuclear channel of the movie of one plane, frames `t0` to `t1` - 1.

        The microscope, its motion and its odd rows are those of `movie_block`; the light is that
        of filled nuclei, which does not change, and the noise is its own.

        Returns
        -------
        (t1 - t0, y, x) uint16
            Counts, with motion and noise.
        """
        canvas = self._see_nuclei(plane)
        return self._filmed(lambda _: canvas, Purpose.NUCLEAR_NOISE, plane, t0, t1)

    def _filmed(
        self, still: Callable[[int], Float32], purpose: Purpose, plane: int, t0: int, t1: int
    ) -> UInt16:
        """Move, shade and expose the frames `t0` to `t1` - 1 of which `still` gives the light."""
        s = self.settings
        self._check_range("frames", t0, t1, s.n_frames)
        out = np.empty((t1 - t0, *s.plane_shape_px), dtype=np.uint16)
        seen = np.empty(s.plane_shape_px, dtype=np.float32)
        field = shading(s, s.plane_shape_px)
        cos_y, cos_x = (cosines(n) for n in s.plane_shape_px)
        for k, t in enumerate(range(t0, t1)):
            start = self._margin - self._motion.rigid[t, plane] + self.plane_offset_px[plane]
            pose = Pose(start, self._motion.bending[t, plane], s.bidirectional_px)
            warp(still(t), pose, cos_y, cos_x, seen)
            seen *= field
            noise = key(s.seed, purpose, plane, t)
            expose(seen.ravel(), noise, self._sensor, out[k].reshape(-1))
        return out

    def clean_block(self, plane: int, t0: int, t1: int) -> Float32:
        """Make the expected counts without motion and noise, frames `t0` to `t1` - 1.

        Returns
        -------
        (t1 - t0, y, x) float32
            Counts, offset included.  The plane lies where `labels_at_plane` has it: without
            `plane_offset_px`, too.
        """
        s = self.settings
        scene = self._see(plane)
        self._check_range("frames", t0, t1, s.n_frames)
        out = np.empty((t1 - t0, *s.plane_shape_px), dtype=np.float32)
        canvas = self._canvas()
        for k, t in enumerate(range(t0, t1)):
            compose(scene, self.fluorescence, self._waves, t, canvas.reshape(-1))
            out[k] = self._counted(canvas)
        return out

    def clean_nuclei(self, plane: int) -> Float32:
        """Make the expected counts of the nuclear channel of a plane without motion and noise.

        Returns
        -------
        (y, x) float32
            Counts, offset included, of every frame alike; it lies as in `clean_block`.
        """
        return self._counted(self._see_nuclei(plane))

    def _counted(self, canvas: Float32) -> Float32:
        """Turn the light of a still canvas into expected counts within the frame."""
        s, m = self.settings, self._margin
        light = s.gain * shading(s, s.plane_shape_px)
        inner = canvas[m : canvas.shape[0] - m, m : canvas.shape[1] - m]
        return np.asarray(inner * light + s.offset, dtype=np.float32)

    def structure_blocks(self, n_slices: int = 16) -> Iterator[tuple[slice, UInt16]]:
        """Yield the whole stack, `n_slices` at a time: (slices, counts)."""
        for part in _parts(self.settings.shape_px[0], n_slices):
            yield part, self.structure_block(part.start, part.stop)

    def label_blocks(self, n_slices: int = 16) -> Iterator[tuple[slice, UInt32]]:
        """Yield all true labels, `n_slices` at a time: (slices, ids)."""
        for part in _parts(self.settings.shape_px[0], n_slices):
            yield part, self.labels_block(part.start, part.stop)

    def movie_blocks(self, n_frames: int = 100) -> Iterator[tuple[int, slice, UInt16]]:
        """Yield all movies, plane after plane, `n_frames` at a time: (plane, frames, counts)."""
        for plane in range(self.settings.n_planes):
            for part in _parts(self.settings.n_frames, n_frames):
                yield plane, part, self.movie_block(plane, part.start, part.stop)

    def field(self, plane: int, t: int) -> Float32:
        """Give the displacement of the content of one frame, without `plane_offset_px`.

        Returns
        -------
        (y, x, 2) float32
            d(x) of ``frame(x) = still(x - d(x))``: +y down, +x right, functional pixels.  Its
            mean over the field is ``-shifts_px[t, plane]``.
        """
        self._check_plane(plane)
        self._check_range("frames", t, t + 1, self.settings.n_frames)
        moved = displacement(self._motion, plane, t, self.settings.plane_shape_px)
        return moved.astype(np.float32)

    def cut_table(self, min_area_px: int = 4) -> CutTable:
        """List the sections of nuclei in functional planes above `min_area_px` pixels.

        Their number over the number of distinct nuclei is the naive overcount.
        """
        nucleus, planes, area = [], [], []
        for plane in range(self.settings.n_planes):
            ids, counts = np.unique(self.labels_at_plane(plane), return_counts=True)
            keep = (ids > 0) & (counts > min_area_px)
            nucleus.append(ids[keep])
            area.append(counts[keep])
            planes.append(np.full(int(keep.sum()), plane, dtype=np.int64))
        return CutTable(
            np.concatenate(nucleus).astype(np.uint32),
            np.concatenate(planes),
            np.concatenate(area).astype(np.int64),
        )

    def ideal_correlation(self, ids: npt.ArrayLike) -> Float64:
        """Give the Pearson correlation of the noise-free traces of some neurons.

        Parameters
        ----------
        ids : (n,)
            Label ids, from 1.

        Returns
        -------
        (n, n) float64
            NaN in the rows and columns of a neuron that never changes.
        """
        rows = np.asarray(ids, dtype=np.int64) - 1
        if rows.size and (rows.min() < 0 or rows.max() >= self.n_neurons):
            raise ValueError(f"ids run from 1 to {self.n_neurons}; found others")
        traces = self.fluorescence[rows].astype(np.float64)
        still = np.ptp(traces, axis=1) == 0
        traces -= traces.mean(axis=1, keepdims=True)
        traces[still] = np.nan
        traces /= np.linalg.norm(traces, axis=1, keepdims=True)
        return traces @ traces.T

    def _canvas(self) -> Float32:
        height, width = (n + 2 * self._margin for n in self.settings.plane_shape_px)
        return np.empty((height, width), dtype=np.float32)

    def _see(self, plane: int) -> Scene:
        """Give the scene of a plane; the last one is kept."""
        self._check_plane(plane)
        held = self._scene
        if held is None or held[0] != plane:
            z = int(self.slice_of_plane[plane])
            scene = build_scene(
                self.settings, self._nuclei, self._regions, z=z, margin=self._margin
            )
            held = self._scene = (plane, scene)
        return held[1]

    def _see_nuclei(self, plane: int) -> Float32:
        """Give the canvas of the nuclear channel of a plane; the last one is kept."""
        self._check_plane(plane)
        held = self._nuclear
        if held is None or held[0] != plane:
            z = int(self.slice_of_plane[plane])
            light = nuclear_light(
                self.settings, self._nuclei, self._regions, self._brightness, z=z,
                margin=self._margin,
            )  # fmt: skip
            held = self._nuclear = (plane, light)
        return held[1]

    def _check_plane(self, plane: int) -> None:
        if not 0 <= plane < self.settings.n_planes:
            raise ValueError(f"plane {plane} does not exist; there are {self.settings.n_planes}")

    @staticmethod
    def _check_range(what: str, start: int, stop: int, n: int) -> None:
        if not 0 <= start <= stop <= n:
            raise ValueError(f"{what} {start} to {stop} are not within 0 to {n}")


def _parts(n: int, length: int) -> Iterator[slice]:
    """Yield slices of `length` that cover `n`."""
    if length < 1:
        raise ValueError(f"a block of {length} holds nothing; ask for 1 or more at a time")
    for start in range(0, n, length):
        yield slice(start, min(start + length, n))
