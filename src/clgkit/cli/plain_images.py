"""Stages on image files: ``normalize-contrast`` to ``extract-traces``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from clgkit import fsio, io
from clgkit.cli import mapfile, shiftfile
from clgkit.cli.init import Spacing
from clgkit.cli.plain import FILES, stage_command
from clgkit.data import rate_hz, voxel_um
from clgkit.errors import DataError
from clgkit.workspace import failed_planes

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.data import Labels, Movie, Volume
    from clgkit.workspace import Workspace

UNIT = (1.0, 1.0, 1.0)
TIFF = (".tif", ".tiff")


def image_options(prefix: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that say what an image file does not: axes, voxel size, dataset, channel."""
    dash = f"{prefix}-" if prefix else ""
    under = f"{prefix}_" if prefix else ""
    of = f" of the {prefix}" if prefix else ""
    options = [
        click.option(f"--{dash}axes", f"{under}axes", help=f'Order of the axes{of}, "tzyx" or so.'),
        click.option(
            f"--{dash}voxel-um", f"{under}voxel", type=Spacing(), help=f"Voxel size{of} in um."
        ),
        click.option(f"--{dash}dataset", f"{under}dataset", help=f"Array{of} in an HDF5 file."),
        click.option(f"--{dash}channel", f"{under}channel", help=f"Channel{of}, number or name."),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def open_image(path: Path, given: dict[str, Any], prefix: str = "") -> io.Image:
    """Open an image file with the options of `image_options`."""
    channel = given[f"{prefix}channel"]
    return io.open_image(
        path,
        axes=given[f"{prefix}axes"],
        dataset=given[f"{prefix}dataset"],
        channel=int(channel) if channel is not None and channel.isdigit() else channel,
    )


def spacing(image: io.Image, given: Any, *, needed: bool) -> Any:
    """Return the voxel size, or 1 um where it is not known and does not matter."""
    if given is not None or needed or (image.voxel_um and None not in image.voxel_um):
        return given
    return UNIT


def movie_of(path: Path, given: dict[str, Any], *, needed: bool) -> Movie:
    """Open a movie; rate and voxel size default to 1 where they do not matter."""
    image = open_image(path, given)
    rate = given["rate_hz"]
    if rate is None and image.rate_hz is None and not needed:
        rate = 1.0
    voxel = spacing(image, given["voxel"], needed=needed)
    movie: Movie = io.as_movie(image, rate_hz=rate, voxel_um=voxel)
    return movie


def check_endings(*paths: Path | None) -> None:
    """Refuse a name that no image can be written to, before hours of work and not after."""
    for path in paths:
        if path is not None and path.suffix.lower() not in TIFF and path.suffix != ".npy":
            raise DataError(
                f"{path.name}: images are written as .tif or .npy; choose one of these endings.",
                code="E_PATH",
            )


def write_image(path: Path, array: xr.DataArray) -> None:
    """Write a result as ``.tif`` (frame by frame) or ``.npy``."""
    check_endings(path)
    axes = "".join({"time": "t"}.get(str(dim), str(dim)) for dim in array.dims)
    if path.suffix.lower() in TIFF:
        rate = rate_hz(array) if "t" in axes else None
        io.write_tiff(path, _Lazy(array), axes=axes, voxel_um=voxel_um(array), rate_hz=rate)
        return
    values = array.values
    fsio.publish(
        path,
        lambda temporary: np.save(temporary, values),
        lambda temporary: np.load(temporary, mmap_mode="r"),
    )


class _Lazy:
    """A labelled array as pixels to be read part by part."""

    def __init__(self, array: xr.DataArray) -> None:
        self.array = array
        self.shape = tuple(array.shape)
        self.dtype = array.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return self.array[key].values


def report_lost(array: xr.DataArray) -> None:
    """Say which planes were lost."""
    for plane, why in failed_planes(array).items():
        click.echo(f"warning: plane {plane} was left out: {why}", err=True)


@stage_command(
    "deconvolve",
    """
clg deconvolve in.tif out.tif --offset 100
clg deconvolve stack.tif sharp.tif --axes zyx --voxel-um 1,0.4,0.4
    --method richardson_lucy --psf two-photon --na 0.8 --wavelength-nm 930
clg deconvolve stack.tif sharp.tif --axes zyx --voxel-um 1,0.4,0.4
    --compat published --psf measured --psf-file bead.tif --psf-axes zyx
""",
)
@click.argument("structure", type=FILES)
@click.argument("output", type=FILES)
@click.option("--denoised", type=FILES, help="Write the stack before sharpening to this file.")
@click.option("--psf-file", type=FILES, help="Image of one bead, for --psf measured.")
@image_options()
@image_options("psf")
def deconvolve(
    structure: Path,
    output: Path,
    *,
    denoised: Path | None,
    psf_file: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Take noise, and if asked for blur, out of the stack STRUCTURE and write it to OUTPUT.

    Of a 3-D bead image the slice in focus is used, its background subtracted.  It is resampled
    to the pixels of the result if both voxel sizes are known, and else taken to have the pixels
    of the stack.
    """
    from clgkit.stages.deconvolve import deconvolve as stage

    check_endings(output, denoised)
    # Only these take a size from the voxels, and then it must be known.
    needed = params.sharpens and params.psf != "measured"
    if psf_file is None:
        stack, bead = volume_of(structure, given, needed=needed), None
    else:
        stack, bead = _with_bead(structure, psf_file, given)
    made = stage(stack, bead, params=params, workspace=workspace)
    write_image(output, made.deconvolved)
    if denoised is not None:
        write_image(denoised, made.deconvolved if made.denoised is None else made.denoised)
    click.echo(f"Wrote {output}.")


def _with_bead(path: Path, psf_file: Path, given: dict[str, Any]) -> tuple[Volume, Volume]:
    """Open a stack and the image of a bead; equal pixels unless both are of known size."""
    from clgkit.pipeline.models import read_bead

    image = open_image(path, given)
    z, y, x = given["voxel"] or image.voxel_um or (None, None, None)
    is_known = y is not None and x is not None
    stack: Volume = io.as_volume(image, voxel_um=(z or 1.0, y, x) if is_known else UNIT)
    channel = given["psf_channel"]
    bead = read_bead(
        psf_file,
        like=stack,
        axes=given["psf_axes"],
        voxel_um=given["psf_voxel"] if is_known else UNIT,
        dataset=given["psf_dataset"],
        channel=int(channel) if channel is not None and channel.isdigit() else channel,
    )
    return stack, bead


@stage_command(
    "normalize_contrast",
    """
clg normalize-contrast in.tif out.tif
clg normalize-contrast stack.tif even.tif --axes zyx --radius-px 15
clg normalize-contrast stack.tif even.tif --window volume --radius-um 4 --voxel-um 1,0.4,0.4
clg normalize-contrast stack.h5 even.tif --dataset raw --axes zyx --compat clg
""",
)
@click.argument("structure", type=FILES)
@click.argument("output", type=FILES)
@image_options()
def normalize_contrast(
    structure: Path, output: Path, *, params: Any, workspace: Workspace, **given: Any
) -> None:
    """Even out brightness and contrast of the stack STRUCTURE and write it to OUTPUT."""
    from clgkit.stages.normalize_contrast import normalize_contrast as stage

    check_endings(output)
    volume = volume_of(structure, given, needed=params.window == "volume")
    made = stage(volume, params=params, workspace=workspace)
    write_image(output, made.normalized)
    click.echo(f"Wrote {output}.")
    offset, gain = made.summary["offset"], made.summary["gain"]
    if gain is not None:
        click.echo(f"An integer n in it stands for {offset!r} + {gain!r} * n.")


def volume_of(
    path: Path, given: dict[str, Any], prefix: str = "", *, needed: bool = False
) -> Volume:
    """Open a volume; its voxel size defaults to 1 where it does not matter."""
    image = open_image(path, given, prefix)
    voxel = spacing(image, given[f"{prefix}voxel"], needed=needed)
    volume: Volume = io.as_volume(image, voxel_um=voxel)
    return volume


@stage_command(
    "correct_motion",
    """
clg correct-motion movie.tif out.tif
clg correct-motion movie.tif out.tif --axes tyx --max-shift-px 8 --shifts shifts.csv
clg correct-motion folder_of_planes out.tif
clg correct-motion second_session.tif out.tif --reference template_of_the_first.tif
""",
)
@click.argument("movie", type=FILES)
@click.argument("output", type=FILES)
@click.option("--reference", type=FILES, help="Lay the frames on these images, one per plane.")
@click.option("--shifts", type=FILES, help="Write the shifts to this CSV file.")
@click.option("--template-file", type=FILES, help="Write the template to this image file.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@image_options()
def correct_motion(
    movie: Path,
    output: Path,
    *,
    reference: Path | None,
    shifts: Path | None,
    template_file: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Undo the motion of every frame of MOVIE and write the movie to OUTPUT.

    The shifts are written beside it, to OUTPUT_shifts.npz, for clg apply-motion.
    """
    from clgkit.stages.correct_motion import correct_motion as stage

    check_endings(output, template_file)
    fixed = None
    if reference is not None:
        axes = given["axes"] and given["axes"].replace("t", "")
        fixed = volume_of(reference, given | {"axes": axes})
    frames = movie_of(movie, given, needed=False)
    made = stage(frames, fixed, params=params, workspace=workspace)
    report_lost(made.corrected)
    write_image(output, made.corrected)
    shiftfile.write_shifts(shiftfile.beside(output), made)
    if template_file is not None:
        write_image(template_file, made.template)
    if shifts is not None:
        time, plane = np.indices(made.bad_frames.shape)
        columns = {
            "frame": time.ravel(),
            "plane": plane.ravel(),
            "shift_y_px": made.shifts.values[..., 0].ravel(),
            "shift_x_px": made.shifts.values[..., 1].ravel(),
            "agreement": made.agreement.values.ravel(),
            "bad_frame": made.bad_frames.values.ravel(),
        }
        io.write_csv(shifts, columns)
    click.echo(f"Wrote {output}.")


@stage_command(
    "align_planes",
    """
clg align-planes template.tif stack.tif planes.txt
    --voxel-um 6,0.8,0.8 --structure-voxel-um 1,0.4,0.4
clg align-planes movie.tif stack.tif planes.txt --scores scores.csv
clg align-planes movie.tif stack.tif planes.txt --nuclear red.tif
    --drift-bin-s 60 --drift drift.csv
""",
)
@click.argument("function", type=FILES)
@click.argument("structure", type=FILES)
@click.argument("output", type=FILES)
@click.option("--scores", type=FILES, help="Write score, confidence and offset to this CSV file.")
@click.option("--drift", type=FILES, help="Write the depth of the planes over time to this file.")
@click.option("--nuclear", type=FILES, help="FUNCTION in the channel of the nuclei, registered.")
@click.option("--plane-map", type=FILES, help="Slices that are known already, lines like 2-85.")
@click.option("--rate-hz", type=float, help="Volumes per second, of a movie.")
@image_options()
@image_options("structure")
def align_planes(
    function: Path,
    structure: Path,
    output: Path,
    *,
    scores: Path | None,
    drift: Path | None,
    plane_map: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Find the slice of the stack STRUCTURE that each plane of FUNCTION shows.

    FUNCTION is a stack of templates (one mean image per plane) or a movie, whose time
    average is taken.  OUTPUT is a plane map: lines such as 2-85, counted from 1; planes
    that were not found are left out.  The position of every pixel is written beside it, to
    OUTPUT_maps.npz, for clg extract-traces.
    """
    from clgkit.pipeline.inputs import planes_of
    from clgkit.stages.align_planes import align_planes as stage

    stack = volume_of(structure, given, "structure_", needed=True)
    image = open_image(function, given)
    template = _template(function, given)
    red = given["nuclear"]
    nuclear = None if red is None else _template(red, given)
    movie = movie_of(function, given, needed=True) if "t" in image.axes else None
    numbers = planes_of(image, template.sizes["z"])
    known = None
    if plane_map is not None:
        known = mapfile.slices_of(plane_map, stack, numbers, any_order=params.order == "free")
    made = stage(template, stack, known, nuclear, movie, params=params, workspace=workspace)
    planes, there = made.planes, made.planes.values >= 0
    slices = planes.values.astype(np.int64)
    io.write_planemap(output, io.PlaneMap(numbers[there], slices[there]))
    mapfile.write_maps(
        mapfile.beside(output),
        planes=planes,
        maps=made.maps,
        residual=made.residual,
        numbers=numbers,
    )
    if scores is not None:
        columns = {name: planes.coords[name].values for name in SCORES}
        io.write_csv(scores, {"plane": numbers + 1, "slice": planes.values + 1, **columns})
    if drift is not None and made.z_drift is not None:
        bins, plane = np.indices(made.z_drift.shape)
        columns = {
            "time_s": made.z_drift.coords["time"].values[bins.ravel()],
            "plane": numbers[plane.ravel()] + 1,
            "drift_um": made.z_drift.values.ravel(),
        }
        io.write_csv(drift, columns)
    click.echo(f"Wrote {output}.")


SCORES = (
    "score", "chance", "found", "confidence", "doubtful", "position", "tilt_y_slices",
    "tilt_x_slices", "shift_y_px", "shift_x_px",
)  # fmt: skip


def _template(path: Path, given: dict[str, Any]) -> Volume:
    """Open a mean image per plane, or take the time average of a movie."""
    from clgkit.pipeline.inputs import time_average

    image = open_image(path, given)
    if "t" in image.axes:
        return time_average(movie_of(path, given, needed=True))
    volume: Volume = io.as_volume(image, voxel_um=given["voxel"])
    return volume.rename("template")


@stage_command(
    "extract_traces",
    """
clg extract-traces corrected.tif labels.tif planes.txt CellTrace_before_calibration.h5
    --maps planes_maps.npz
clg extract-traces movie.tif labels.tif planes.txt before.mat --rate-hz 2
    --voxel-um 6,0.8,0.8 --labels-voxel-um 1,0.4,0.4
""",
)
@click.argument("movie", type=FILES)
@click.argument("labels", type=FILES)
@click.argument("planes", type=FILES)
@click.argument("output", type=FILES)
@click.option("--maps", type=FILES, help="File that clg align-planes left beside its plane map.")
@click.option("--rate-hz", type=float, help="Volumes per second.")
@image_options()
@image_options("labels")
def extract_traces(
    movie: Path,
    labels: Path,
    planes: Path,
    output: Path,
    *,
    maps: Path | None,
    params: Any,
    workspace: Workspace,
    **given: Any,
) -> None:
    """Average the pixels of each nucleus of LABELS on each plane of MOVIE.

    PLANES is a plane map (lines such as 2-85).  Without --maps the labels of each slice are laid
    on its plane as they are, by the sizes of the pixels alone.  OUTPUT (.h5, .mat or .npz) holds
    trace, pos (slice, y, x), nucIndex and nucArea, one row per nucleus and plane.
    """
    from clgkit.pipeline.inputs import planes_of
    from clgkit.stages.extract_traces import extract_traces as stage

    image = open_image(movie, given)
    frames = movie_of(movie, given, needed=True)
    nuclei = labels_of(labels, given)
    numbers = planes_of(image, frames.sizes["z"])
    chosen = mapfile.slices_of(planes, nuclei, numbers, any_order=True)
    if maps is not None:
        laid = mapfile.read_maps(maps, chosen, frames)
    else:
        laid = mapfile.Laid(chosen)
        if params.use_offset and params.compat == "none":
            click.echo(
                "warning: nothing says how the planes lie on their slices, so the labels are laid "
                "on them as they are; give --maps, or --no-use-offset if this is meant.",
                err=True,
            )
    rois = stage(frames, nuclei, *laid, params=params, workspace=workspace).rois
    io.write_traces(output, roi_bundle(rois))
    click.echo(f"Wrote {output}: {len(rois)} rois.")


def roi_bundle(rois: xr.DataArray) -> io.TraceBundle:
    """Return the traces of all rois with slice, y and x (pixels) of each."""
    columns = [rois.coords[name].values for name in ("slice", "y_px", "x_px")]
    return io.TraceBundle(
        rois.values,
        np.column_stack(columns).astype(np.float64),
        rois.coords["nucleus"].values,
        rois.coords["area_px"].values,
    )


def labels_of(path: Path, given: dict[str, Any]) -> Labels:
    """Open labels."""
    image = open_image(path, given, "labels_")
    labels: Labels = io.as_labels(image, voxel_um=given["labels_voxel"])
    return labels
