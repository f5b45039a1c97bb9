"""A simulated fish as files: raw data as a microscope leaves them, and the truth beside them.

::

    raw/structure.tif        structural stack (z, y, x)
    raw/function/z_01.tif …  one movie (time, y, x) per functional plane
    raw/nuclear/z_01.tif …   their nuclear channel, if it is asked for
    truth/labels.tif         nuclei, uint32
    truth/planes.txt         plane map
    truth/truth.npz          traces, spikes, shifts, modules, …
    simulation.json          settings and checksums, written last
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clgkit import fsio, io
from clgkit.cli.npz import write_npz
from clgkit.simulate import Fish, FishSettings
from clgkit.simulate.settings import plane_gaps

if TYPE_CHECKING:
    from clgkit.workspace import Progress

RECEIPT = "simulation.json"
STRUCTURE = Path("raw/structure.tif")
FUNCTION = Path("raw/function")
NUCLEAR = Path("raw/nuclear")
LABELS = Path("truth/labels.tif")
PLANES = Path("truth/planes.txt")
TRUTH = Path("truth/truth.npz")
FRAMES = 50
SLICES = 16


class Blocks:
    """Pixels that are made in blocks along their first axis, the last block being kept."""

    def __init__(
        self,
        make: Callable[[int, int], npt.NDArray[Any]],
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        length: int,
    ) -> None:
        self.make = make
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.length = length
        self._start = -1
        self._block: npt.NDArray[Any] = np.empty(0)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Return a part, made or remembered."""
        chosen = range(*key[0].indices(self.shape[0]))
        made = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for row, index in enumerate(chosen):
            made[row] = self._at(index)
        return made[(slice(None), *key[1:])]

    def _at(self, index: int) -> npt.NDArray[Any]:
        start = index - index % self.length
        if start != self._start:
            stop = min(start + self.length, self.shape[0])
            self._block, self._start = self.make(start, stop), start
        found: npt.NDArray[Any] = self._block[index - start]
        return found


def write_fish(
    folder: Path, settings: FishSettings, progress: Progress, *, nuclear: bool = False
) -> bool:
    """Write a fish below `folder`, unless exactly this fish lies there already.

    Parameters
    ----------
    folder, settings
        Where, and which.
    progress
        Told of every file.
    nuclear
        Also write the nuclear channel of the movies.

    Returns
    -------
    bool
        Whether anything was written.
    """
    if is_written(folder, settings, nuclear=nuclear):
        return False
    fsio.remove(folder / RECEIPT)
    for part in (FUNCTION, TRUTH.parent, *([NUCLEAR] if nuclear else [])):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in ("raw", "truth"):
        for leftover in [*(folder / name).rglob(f"{fsio.TEMPORARY}*")]:
            fsio.remove(leftover)
    fish = Fish(settings)
    steps = list(_steps(folder, fish, nuclear=nuclear))
    progress("simulate", 0, len(steps))
    for number, step in enumerate(steps, 1):
        step()
        progress("simulate", number, len(steps))
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, fsio.crc32_of(path)]
        for path in sorted([*folder.glob("raw/**/*"), *folder.glob("truth/*")])
        if path.is_file() and (nuclear or path.parent != folder / NUCLEAR)
    }
    fsio.write_json(folder / RECEIPT, {"settings": _plain(settings), "files": files})
    return True


def is_written(folder: Path, settings: FishSettings, *, nuclear: bool = False) -> bool:
    """Tell whether exactly this fish lies below `folder`, whole, and with what is asked for."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text())
        files = dict(receipt["files"])
        if receipt["settings"] != _plain(settings):
            return False
        if nuclear and not any(Path(name).parent == NUCLEAR for name in files):
            return False
    except (OSError, ValueError, TypeError, KeyError):
        return False
    paths = {folder / name: entry for name, entry in files.items()}
    return all(p.is_file() and p.stat().st_size == size for p, (size, _) in paths.items())


def _plain(settings: FishSettings) -> Any:
    return json.loads(json.dumps(asdict(settings)))


def run_values(settings: FishSettings, *, nuclear: bool = False) -> dict[str, dict[str, Any]]:
    """Return what the settings file of a run on a fish says besides the defaults."""
    gaps = plane_gaps(settings) or settings.gaps_px[:1]
    z, y, x = settings.voxel_um
    values: dict[str, dict[str, Any]] = {
        "structure": {"path": STRUCTURE.as_posix()},
        "function": {
            "path": FUNCTION.as_posix(),
            "rate_hz": settings.rate_hz,
            "voxel_um": (sum(gaps) / len(gaps) * z, 2 * y, 2 * x),
        },
        "segment_nuclei": {
            "diameter_um": settings.nucleus_diameter_um,
            "elongation": settings.axial_stretch,
        },
        "align_planes": {"nucleus_um": settings.nucleus_diameter_um},
        "dismantle": {"relative_to": "lcc"},
    }
    if nuclear:
        values["nuclear"] = {"path": NUCLEAR.as_posix()}
    return values


def _steps(folder: Path, fish: Fish, *, nuclear: bool) -> Iterator[Callable[[], None]]:
    settings = fish.settings
    stack = settings.shape_px
    voxel = settings.voxel_um
    yield lambda: io.write_tiff(
        folder / STRUCTURE,
        Blocks(fish.structure_block, stack, np.uint16, SLICES),
        axes="zyx",
        voxel_um=voxel,
    )
    yield lambda: io.write_tiff(
        folder / LABELS, Blocks(fish.labels_block, stack, np.uint32, SLICES), axes="zyx",
        voxel_um=voxel, compression="zlib",
    )  # fmt: skip
    channels = [(FUNCTION, fish.movie_block)] + [(NUCLEAR, fish.nuclear_block)] * nuclear
    for part, make in channels:
        for plane in range(settings.n_planes):
            path = folder / part / f"z_{plane + 1:02d}.tif"
            yield _plane_writer(path, partial(make, plane), fish)
    yield lambda: _write_truth(folder, fish)


def _plane_writer(
    path: Path, make: Callable[[int, int], npt.NDArray[Any]], fish: Fish
) -> Callable[[], None]:
    settings = fish.settings
    shape = (settings.n_frames, *settings.plane_shape_px)
    _, step_y, step_x = settings.voxel_um

    def write() -> None:
        io.write_tiff(
            path,
            Blocks(make, shape, np.uint16, FRAMES),
            axes="tyx",
            voxel_um=(plane_pitch_um(fish), 2 * step_y, 2 * step_x),
            rate_hz=settings.rate_hz,
        )

    return write


def plane_pitch_um(fish: Fish) -> float:
    """Return the mean distance between functional planes."""
    slices = fish.slice_of_plane
    step: float = fish.settings.voxel_um[0]
    return float(np.diff(slices).mean()) * step if len(slices) > 1 else step


def _write_truth(folder: Path, fish: Fish) -> None:
    planes = np.arange(fish.settings.n_planes)
    io.write_planemap(folder / PLANES, io.PlaneMap(planes, fish.slice_of_plane))
    cut = fish.cut_table()
    write_npz(
        folder / TRUTH,
        ids=fish.ids,
        centers_um=fish.centers_um,
        module=fish.module,
        spikes=fish.spikes,
        calcium=fish.calcium,
        fluorescence=fish.fluorescence,
        slice_of_plane=fish.slice_of_plane,
        shifts_px=fish.shifts_px,
        plane_offset_px=fish.plane_offset_px,
        cut_nucleus=cut.nucleus,
        cut_plane=cut.plane,
        cut_area_px=cut.area_px,
    )
