"""The sparse step and what follows it, beside the same scheme with Fourier transforms in numpy."""

import functools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from benchmarks._deconvolution_stack import on_file, on_pattern, write_blobs
from benchmarks._fourier_rings import (
    mean_to_half_nyquist,
    of_truth,
    resolution_px,
    ring_correlation,
)
from benchmarks.harness import Figure, Size, measure, peak_mb, peer_version
from clgkit import data
from clgkit.deconvolution import (
    HALO_PX,
    Deblur,
    SparseHessian,
    amplitude_response,
    choose_core,
    denoise_block,
    denoise_sparse,
    find_scale,
    gaussian_psf,
    richardson_lucy,
)
from clgkit.segmentation import score_labels, segment_classical
from clgkit.simulate import Fish, preset
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.stages.segment_nuclei import SegmentNuclei, segment_nuclei

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

BRAIN = (301, 1024, 1024)
PUBLISHED = SparseHessian(sparsity=6)
ROUNDS = 12  # that are timed; all rounds cost the same
PSF = gaussian_psf(3.0, pixel_um=1.0)


def make_nuclei(shape: tuple[int, int, int], *, photons: float, seed: int = 0) -> Float32:
    """Return balls of brightness 1 on 0.15, blurred, with shot noise."""
    rng = np.random.default_rng(seed)
    light = np.full(shape, 0.15)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    for _ in range(int(np.prod(shape) // 2270)):
        cz, cy, cx = rng.uniform(0, shape)
        radius = rng.uniform(3.0, 4.5)
        light[((z - cz) * 2.2) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 1.0
    light = ndimage.gaussian_filter(light, (1.06, 1.02, 1.02), mode="nearest")
    return np.asarray(rng.poisson(photons * light), np.float32)


def denoise_by_fourier(f: Float32, rounds: int) -> Float32:
    """Follow the scheme term by term: whole arrays, and two transforms a round."""
    ez, ey, ex = (4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in f.shape)
    laplacian = ez[:, None, None] + ey[:, None] + ex[: f.shape[2] // 2 + 1]
    below = (150 + 36 + laplacian**2).astype(np.float32)
    terms = [(1, 1, 1), (2, 2, 1), (0, 0, 1), (1, 2, 2), (0, 2, 2), (0, 1, 2)]
    b = np.zeros((7, *f.shape), np.float32)
    g = f
    for _ in range(rounds):
        u = np.float32(150) * f
        for k, (i, j, weight) in enumerate(terms):
            bend = _difference(_difference(g, i, ahead=True), j, ahead=i != j)
            back = _difference(_shrink(bend, b[k]), i, ahead=i == j)
            u += np.float32(weight) * _difference(back, j, ahead=False)
        u += np.float32(6) * _shrink(g, b[6])
        g = fft.irfftn(fft.rfftn(u) / below, f.shape)
    return np.maximum(g, 0)


def _difference(g: Float32, axis: int, *, ahead: bool) -> Float32:
    made = np.zeros_like(g)
    lines, out = np.moveaxis(g, axis, 0), np.moveaxis(made, axis, 0)
    np.subtract(lines[1:], lines[:-1], out=out[:-1] if ahead else out[1:])
    return made


def _shrink(q: Float32, b: Float32) -> Float32:
    t = q + b
    np.clip(t, -1, 1, out=b)
    return np.asarray(t - 2 * b)


class Work(NamedTuple):
    """What a whole brain is made of, 120 + 8 iterations."""

    shape: tuple[int, int, int]
    n_tiles: int
    tile: Callable[[], object]
    """Some rounds of one inner tile, halo included."""
    plane: Callable[[], object]
    """One plane, sharpened."""

    def us_per_voxel(self, tile_s: float, plane_s: float) -> float:
        """Return microseconds a voxel of the whole from seconds of one tile and one plane."""
        rounds = (PUBLISHED.iterations - 1) / ROUNDS
        total_s = tile_s * rounds * self.n_tiles + plane_s * self.shape[0]
        return 1e6 * total_s / float(np.prod(self.shape, dtype=float))


def work_of(size: Size) -> Work:
    """Return the parts of the work on a whole brain."""
    shape = BRAIN if size == "full" else (20, 40, 40)
    core = choose_core(shape)
    cuts = [-(-n // c) for n, c in zip(shape, core, strict=True)]
    wide = tuple(c + 2 * HALO_PX * (k > 1) for c, k in zip(core, cuts, strict=True))
    tile = np.random.default_rng(0).random(wide, np.float32)
    plane = np.random.default_rng(0).random(shape[1:], np.float32)
    method = SparseHessian(iterations=1 + ROUNDS, sparsity=6)
    scale = np.ones(wide[0], np.float32)
    faces = ((True, True), (False, False), (False, False))
    return Work(
        shape,
        int(np.prod(cuts)),
        lambda: denoise_block(tile, method, scale=scale, faces=faces),
        lambda: richardson_lucy(plane, PSF, iterations=8),
    )


def figure_speed(size: Size) -> Figure:
    """Whole brain, 120 + 8 iterations: from one inner tile and one plane, halo included.

    CPU seconds over two: tiles and planes share nothing, so that two cores halve the time.
    """
    work = work_of(size)
    ours = work.us_per_voxel(*measure(work.tile, work.plane)) / 2
    return Figure("120 + 8 iterations, CPU s / 2 cores", "µs/voxel", ours, target=3.0)


def figure_speed_wall(size: Size) -> Figure:
    """Whole brain by the clock: two inner tiles on two threads, then two planes on two threads.

    Whatever else the machine does counts too.
    """
    work = work_of(size)
    tiles_s, planes_s = (_wall_s_of_two(part) for part in (work.tile, work.plane))
    ours = work.us_per_voxel(tiles_s / 2, planes_s / 2)
    return Figure("120 + 8 iterations, wall time of two threads", "µs/voxel", ours, target=3.0)


def _wall_s_of_two(function: Callable[[], object]) -> float:
    """Return the median wall seconds of calling a function twice, on two threads."""
    function()  # compiles
    taken = []
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            start = time.perf_counter()
            for call in [threads.submit(function) for _ in range(2)]:
                call.result()
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def figure_rounds(size: Size) -> Figure:
    """Twelve rounds of the sparse step on one block that needs no tiles."""
    f = np.random.default_rng(0).random((64, 192, 192) if size == "full" else (8, 16, 16))
    data = f.astype(np.float32)
    method = SparseHessian(iterations=1 + ROUNDS, sparsity=6)
    ours, peer = measure(lambda: method(data), lambda: denoise_by_fourier(data, ROUNDS))
    name = f"whole arrays and transforms, {peer_version('scipy')}"
    return Figure("twelve rounds", "CPU s", ours, peer=name, peer_value=peer, target=2.5)


def figure_difference(size: Size) -> Figure:
    """Largest difference to transforms, 120 iterations, over the maximum."""
    f = make_nuclei((24, 64, 64) if size == "full" else (6, 12, 12), photons=30) / np.float32(40)
    ours, peer = PUBLISHED(f), denoise_by_fourier(f, PUBLISHED.iterations - 1)
    return Figure("difference to transforms", "1", _worst(ours, peer), target=1e-5)


def figure_tiles(size: Size) -> Figure:
    """Largest difference of a tiled to a whole stack, over the maximum."""
    f = make_nuclei((24, 96, 96) if size == "full" else (2, 8, 30), photons=30)
    whole = denoise_sparse(f, PUBLISHED).image
    tiled = denoise_sparse(f, PUBLISHED, core_px=(f.shape[0] // 2, f.shape[1], 20)).image
    return Figure("tiles to whole", "1", _worst(tiled, whole), target=1e-6)


def figure_border(size: Size) -> Figure:
    """Worst face of a stack against the same stack mirrored twice as wide: NRMS."""
    f = make_nuclei((24, 64, 64) if size == "full" else (6, 12, 12), photons=30)
    pad = 4 if size == "toy" else 20
    wide = np.pad(f, pad, mode="reflect")
    inside = (slice(pad, -pad),) * 3
    scale = np.full(len(wide), find_scale(f)[0], np.float32)
    better = denoise_block(wide, PUBLISHED, scale=scale)[inside]
    ours = denoise_sparse(f, PUBLISHED).image
    faces = [(ours.take(k, a), better.take(k, a)) for a in range(3) for k in (0, -1)]
    worst = max(float(np.sqrt(np.mean((o - b) ** 2)) / b.std()) for o, b in faces)
    return Figure("border error", "NRMS", worst, target=0.01)


def figure_widths(size: Size) -> Figure:
    """Bead widths against the published table: the largest deviation of six."""
    amplitudes = (1.0,) if size == "toy" else (1.0, 0.5, 0.25, 0.1, 0.05)
    made = amplitude_response(PUBLISHED, Deblur(PSF), amplitudes=amplitudes)
    table = np.array([[3.06, 3.11, 1.14], [2.60, 2.64, 2.47]])
    worst = float(np.abs(np.array([made.lateral_px, made.axial_px]) - table).max())
    return Figure("bead widths", "px", worst, target=0.05)


def figure_likeness(size: Size) -> Figure:
    """Correlation with the noise-free stack at 5 photons, the maximum as scale as published."""
    shape = (16, 128, 128) if size == "full" else (6, 24, 24)
    noisy, clean = (make_nuclei(shape, photons=photons) for photons in (5, 3e5))
    ours = denoise_sparse(noisy, PUBLISHED, scale="max").image
    peer = ndimage.gaussian_filter(noisy, (0.6, 1, 1))
    values = [float(np.corrcoef(image.ravel(), clean.ravel())[0, 1]) for image in (ours, peer)]
    name = f"Gaussian of the same width, {peer_version('scipy')}"
    return Figure(
        "r at 5 photons", "1", values[0], peer=name, peer_value=values[1], better="higher"
    )


def ring_correlations(size: Size, way: str) -> tuple[Float64, Float64]:
    """Return the correlation of two results with each other, and of one with the truth, by ring.

    The photons of one stack, 10 of a nucleus a voxel, are dealt out to two independent halves.
    """
    shape = (16, 192, 192) if size == "full" else (6, 24, 24)
    noisy, clean = (make_nuclei(shape, photons=photons) for photons in (10, 3e5))
    one = np.random.default_rng(1).binomial(noisy.astype(np.int64), 0.5).astype(np.float32)
    made = [WAYS[way](half) for half in (one, noisy - one)]
    return ring_correlation(*made), ring_correlation(made[0], clean)


def _raw(half: Float32) -> Float32:
    return half


def _default(half: Float32) -> Float32:
    return denoise_sparse(half, SparseHessian(sparsity=0), headroom=4.0).image


def _published(half: Float32) -> Float32:
    made = denoise_sparse(half, PUBLISHED, scale="max")
    return Deblur(PSF)(made.image / made.scale[:, None, None])


WAYS: dict[str, Callable[[Float32], Float32]] = {
    "raw": _raw,
    "default": _default,
    "published + RL 8": _published,
}


def rings_beside_raw(size: Size, way: str) -> Figure:
    """Return a row: correlation with the truth, and in its name what two halves make believe."""
    halves, truth = ring_correlations(size, way)
    raw_halves, raw_truth = ring_correlations(size, "raw")
    told = ", ".join(
        f"{mean_to_half_nyquist(of_truth(rings)):.2f} and {resolution_px(rings):.1f} px {name}"
        for rings, name in ((halves, "by two halves"), (raw_halves, "raw"))
    )
    return Figure(
        f"Fourier rings with the truth to half Nyquist, 5 photons: {way} ({told})",
        "1",
        mean_to_half_nyquist(truth),
        peer="raw half",
        peer_value=mean_to_half_nyquist(raw_truth),
        better="higher",
    )


def figure_rings_default(size: Size) -> Figure:
    """Correlation with the truth by frequency, default settings on half of the photons.

    Two processed halves agree by what the settings put into both, so that what they say of the
    truth, and a resolution at their correlation of a seventh, is in the name only.
    """
    return rings_beside_raw(size, "default")


def figure_rings_published(size: Size) -> Figure:
    """Correlation with the truth by frequency, published settings and Richardson-Lucy 8."""
    return rings_beside_raw(size, "published + RL 8")


def figure_hot_pixel(size: Size) -> Figure:
    """Largest change more than 10 px from a voxel ten times as bright as any other."""
    f = make_nuclei((16, 64, 64) if size == "full" else (3, 26, 26), photons=30)
    hot, place = f.copy(), tuple(n // 2 for n in f.shape)
    hot[place] = 10 * f.max()
    away = np.abs(np.indices(f.shape) - np.reshape(place, (3, 1, 1, 1))).max(axis=0) > 10
    scale = float(find_scale(f)[0])
    one, other = (denoise_sparse(image, PUBLISHED, scale=scale).image for image in (f, hot))
    worst = float(np.abs(one - other)[away].max() / f.max())
    return Figure("reach of a hot pixel", "1", worst, target=1e-6)


def figure_memory(size: Size) -> Figure:
    """Peak of a process that works on two tiles of a whole brain at once."""
    core = choose_core(BRAIN) if size == "full" else (8, 16, 16)
    return Figure(
        "two tiles at once", "MB", peak_mb(functools.partial(two_tiles, core)), target=2e3
    )


def two_tiles(core: tuple[int, int, int]) -> None:
    """Denoise a stack of four inner tiles with two threads."""
    stack = np.ones((core[0], 2 * core[1], 2 * core[2]), np.uint16)
    stack[0, 0, 0] = 2
    denoise_sparse(stack, SparseHessian(iterations=2), core_px=core, workers=2)


def figure_depth(size: Size) -> Figure:
    """Peak of the stage on twice as many slices, over that on half of them."""
    shape, budget = ((60, 512, 512), 150.0) if size == "full" else ((6, 24, 24), 1.0)
    once, twice = (
        peak_mb(functools.partial(on_pattern, (depth, *shape[1:]), budget))
        for depth in (shape[0], 2 * shape[0])
    )
    name = f"peak memory of the stage, twice the slices ({once:.0f} MB)"
    return Figure(name, "times", twice / once, target=1.15)


def figure_brain(size: Size) -> Figure:
    """Peak of the stage on 301 x 1024 x 1024 voxels of a file, two workers, no other limit.

    Two rounds of each step instead of 120 and 8: a round takes no memory that the one before did
    not, and all of them would take ten times as long.
    """
    shape = BRAIN if size == "full" else (6, 24, 24)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.tif"
        write_blobs(path, shape)
        peak = peak_mb(functools.partial(on_file, str(path)))
    return Figure("peak memory of the stage, two rounds, whole brain", "MB", peak, target=2e3)


def figure_empty_field(size: Size) -> Figure:
    """Nuclei found in denoised shot noise of 5 photons, where there is none."""
    shape = (24, 128, 128) if size == "full" else (8, 24, 24)
    noise = np.random.default_rng(0).poisson(5, shape).astype(np.uint16)
    flat = data.volume(noise, voxel_um=(1.0, 0.4, 0.4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no nucleus was found
        smooth = deconvolve(
            flat, params=Deconvolve(iterations=120 if size == "full" else 5)
        ).deconvolved
        classical = SegmentNuclei(method="classical")  # networks read the raw stack anyway
        found, believed = (
            segment_nuclei(smooth, raw, params=classical).summary["n_seeds"] for raw in (flat, None)
        )
    return Figure(
        f"nuclei in an empty field ({believed} without the raw one)", "1", found, target=0
    )


def figure_nuclei(size: Size) -> Figure:
    """F1 of nuclei in one stack whose noise is taken from what is segmented, not as in a run."""
    smaller = {"shape_px": (60, 256, 256), "n_neurons": 680, "n_planes": 5, "n_frames": 4}
    fish = Fish(preset("demo", seed=3, **smaller) if size == "full" else preset("tiny", seed=3))
    depth, settings = fish.settings.shape_px[0], fish.settings
    raw = fish.structure_block(0, depth).astype(np.float32) - np.float32(settings.offset)
    light = np.maximum(raw, 0)
    truth = fish.labels_block(0, depth)
    width = settings.nucleus_diameter_um
    size_um = (settings.axial_stretch * width, width, width)
    ours, peer = (
        score_labels(
            truth, segment_classical(image, voxel_um=settings.voxel_um, diameter_um=size_um)
        ).f1
        for image in (denoise_sparse(light, SparseHessian(sparsity=0), headroom=4.0).image, light)
    )
    return Figure("F1 of nuclei", "1", ours, peer="raw stack", peer_value=peer, better="higher")


def _worst(ours: Float32, theirs: Float32) -> float:
    return float(np.abs(ours - theirs).max() / theirs.max())
