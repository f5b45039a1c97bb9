"""The motion of a movie in a file, so that it can be undone in another channel.

``<name>_shifts.npz`` holds what ``clg correct-motion`` found: the shift of every patch of every
frame, where the patches lie, the offset between rows, and the bad frames; and for shifts that
were found as NoRMCorre does, the phases of the patches and the settings.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from clgkit.cli.npz import read_npz, write_npz
from clgkit.errors import DataError
from clgkit.workspace import FAILED, failed_planes

if TYPE_CHECKING:
    from clgkit.stages.correct_motion import MotionCorrected

PARTS = (
    "patch_shifts_px", "patch_y_px", "patch_x_px", "line_offset_px", "bad_frames",
    "frame_shape_px", "lost_planes", "why_lost",
)  # fmt: skip
NORMCORRE = ("phase_rad", "normcorre")
ORIGIN = "`clg correct-motion movie.tif out.tif` writes such a file, out_shifts.npz."


class Motion(NamedTuple):
    """What :func:`clgkit.stages.apply_motion` reads, and the size of the frames."""

    patch_shifts: xr.DataArray
    summary: dict[str, Any]
    bad_frames: xr.DataArray
    shape_px: tuple[int, int]


def beside(output: Path) -> Path:
    """Return where the shifts of a corrected movie are kept."""
    return output.with_name(f"{output.stem}_shifts.npz")


def write_shifts(path: Path, made: MotionCorrected) -> None:
    """Write the motion that was found."""
    lost = failed_planes(made.patch_shifts)
    phases = made.patch_shifts.coords.get("phase_rad")
    more = {} if phases is None else {
        "phase_rad": phases.values, "normcorre": np.array(json.dumps(made.summary["normcorre"]))
    }  # fmt: skip
    write_npz(
        path,
        patch_shifts_px=made.patch_shifts.values,
        patch_y_px=made.patch_shifts.coords["patch_y"].values,
        patch_x_px=made.patch_shifts.coords["patch_x"].values,
        line_offset_px=np.array(made.summary["line_offset_px"], np.float64),
        bad_frames=made.bad_frames.values,
        n_valid=made.n_valid.values,
        frame_shape_px=np.array([made.corrected.sizes["y"], made.corrected.sizes["x"]]),
        lost_planes=np.array(list(lost), np.int64),
        why_lost=np.array(list(lost.values()), np.str_),
        **more,
    )


def read_shifts(path: Path) -> Motion:
    """Return the motion that a file holds.

    Raises
    ------
    DataError
        If it is no such file.
    """
    found = read_npz(path, PARTS, ORIGIN)
    with zipfile.ZipFile(path) as archive:
        if {f"{name}.npy" for name in NORMCORRE} <= set(archive.namelist()):
            found |= read_npz(path, NORMCORRE, ORIGIN)
    shifts, bad = found["patch_shifts_px"], found["bad_frames"]
    centers = {axis: (f"patch_{axis}", found[f"patch_{axis}_px"]) for axis in "yx"}
    try:
        patch_shifts = xr.DataArray(
            shifts,
            dims=("time", "z", "patch_y", "patch_x", "axis"),
            coords={f"patch_{axis}": center for axis, center in centers.items()},
            attrs={
                FAILED: dict(zip(map(str, found["lost_planes"]), found["why_lost"], strict=True))
            },
        )
        bad_frames = xr.DataArray(bad, dims=("time", "z"))
        y, x = (int(n) for n in found["frame_shape_px"])
        summary: dict[str, Any] = {"line_offset_px": float(found["line_offset_px"])}
        if "phase_rad" in found:
            patch_shifts.coords["phase_rad"] = (patch_shifts.dims[:-1], found["phase_rad"])
            summary["normcorre"] = json.loads(str(found["normcorre"]))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"The arrays of {path.name} do not fit together. {ORIGIN}", code="E_SHAPE"
        ) from error
    return Motion(patch_shifts, summary, bad_frames, (y, x))


def motion_of_run(run: Path) -> Motion:
    """Return the motion that a run found.

    Raises
    ------
    StoreError
        If the run has not corrected its motion.
    """
    from clgkit.pipeline import nouns
    from clgkit.pipeline.store import Store

    result = Store(run).result("correct_motion")
    sizes = result.array("template").sizes
    return Motion(
        nouns.load(result, "patch_shifts"),
        nouns.load(result, "summary"),
        nouns.load(result, "bad_frames"),
        (sizes["y"], sizes["x"]),
    )
