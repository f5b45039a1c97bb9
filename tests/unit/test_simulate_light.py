"""Light as it should be: depth, shading, photons, dark places, and 16 bits that are enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from clgkit.simulate import Fish, preset
from clgkit.simulate.anatomy import Nuclei, build_regions
from clgkit.simulate.noise import Sensor, expose, lattice_noise
from clgkit.simulate.optics import (
    blotches,
    blur_kernel,
    region_slice,
    shading,
    structure_photons,
)
from clgkit.simulate.paint import (
    TEXTURE,
    TEXTURE_UM,
    Grid,
    Slab,
    count_rings,
    paint_labels,
    paint_light,
)
from clgkit.simulate.scene import build_scene, compose, wave_shares
from clgkit.simulate.streams import Purpose, key, smooth_noise, stream

STILL = {
    "drift_px": 0.0, "jitter_px": 0.0, "plane_jitter_px": 0.0, "n_bursts": 0, "nonrigid_px": 0.0,
    "plane_offset_px": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def still() -> Fish:
    return Fish(preset("tiny", seed=8, **STILL))


@pytest.fixture(scope="module")
def demo() -> Fish:
    return Fish(preset("demo", n_frames=2))


def test_the_movie_fades_with_depth_as_documented(still: Fish) -> None:
    clear = Fish(preset("tiny", seed=8, attenuation_um=1e9, **STILL))
    s = still.settings
    for plane in range(3):
        depth = float(still.slice_of_plane[plane]) * s.voxel_um[0]
        seen = still.clean_block(plane, 0, 2) - s.offset
        expected = (clear.clean_block(plane, 0, 2) - s.offset) * np.exp(-depth / s.attenuation_um)
        np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-2)  # float32 beside 200


def test_the_structure_fades_with_depth_measurably() -> None:
    fish = Fish(preset("tiny", seed=8, attenuation_um=25.0, shading=0.0, structure_background=0.0))
    labels, counts = fish.labels_block(0, 32), fish.structure_block(0, 32).astype(float)
    brightness = fish._brightness
    slices = np.arange(4, 28)
    light = [
        np.mean((counts[z][labels[z] > 0] - 200) / brightness[labels[z][labels[z] > 0] - 1])
        for z in slices
    ]

    slope = np.polyfit(slices * fish.settings.voxel_um[0], np.log(light), 1)[0]

    # Blur mixes neighbours of other brightness into a slice: a few per cent of the slope.
    assert slope == pytest.approx(-1 / 25.0, rel=0.1)


def test_shading_is_that_of_the_formula_in_both_channels(still: Fish) -> None:
    flat = Fish(preset("tiny", seed=8, shading=0.0, **STILL))
    offset = still.settings.offset
    ratio = (still.clean_block(1, 0, 1)[0] - offset) / (flat.clean_block(1, 0, 1)[0] - offset)

    field = shading(still.settings, (64, 64))
    np.testing.assert_allclose(ratio, field, rtol=1e-3)  # float32 beside an offset of 200
    assert field.max() > 0.999
    corners = field[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() == pytest.approx(1 - still.settings.shading, abs=0.02)
    inner = [
        structure_photons(f.settings, f._nuclei, f._regions, f._brightness, start=9, stop=10)[0]
        for f in (still, flat)
    ]
    np.testing.assert_allclose(inner[0] / inner[1], shading(still.settings, (128, 128)), rtol=1e-5)


def test_the_variance_of_the_movie_is_gain_times_light_plus_read_noise(still: Fish) -> None:
    s = still.settings
    light = np.concatenate([still.clean_block(p, 0, 40).ravel() for p in range(3)]) - s.offset
    raw = np.concatenate([still.movie_block(p, 0, 40).ravel() for p in range(3)]) - s.offset
    order = np.argsort(light)
    level = light[order].reshape(60, -1).mean(axis=1)
    spread = ((raw - light)[order].reshape(60, -1) ** 2).mean(axis=1)
    steady = level < 400  # few pixels are brighter, and those are spread widely

    gain, read = np.polyfit(level[steady], spread[steady], 1, w=1 / level[steady])

    # 8,192 pixels a group: 1.6 % a point, 60 points.
    assert gain == pytest.approx(s.gain, rel=0.02)
    assert read == pytest.approx(s.read_noise**2 + 1 / 12, abs=40)


def test_the_structure_has_photon_statistics_too(still: Fish) -> None:
    s = still.settings
    photons = structure_photons(
        s, still._nuclei, still._regions, still._brightness, start=10, stop=14
    )
    expected = s.gain * photons + s.offset
    residual = still.structure_block(10, 14) - expected

    normal = residual / np.sqrt(s.gain**2 * photons + s.read_noise**2)
    # 65,536 pixels: standard errors 0.004 and 0.6 %.
    assert abs(normal.mean()) < 0.02
    assert normal.var() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("changes", [{}, {"neuropil": 0.0}, {"dff_max": 40.0}])
def test_nothing_clips_at_the_largest_gain_that_is_accepted(changes: dict[str, float]) -> None:
    low, high = 20.0, 20_000.0
    for _ in range(12):
        middle = (low + high) / 2
        try:
            Fish(preset("tiny", gain=middle, **changes))
        except ValueError:
            high = middle
        else:
            low = middle
    fish = Fish(preset("tiny", gain=low, **changes))

    brightest = max(int(counts.max()) for _, _, counts in fish.movie_blocks(20))
    brightest = max(brightest, int(fish.structure_block(0, 32).max()))
    assert 20_000 < brightest < 65_535


def test_nothing_clips_at_the_dark_end() -> None:
    dark = Fish(preset("tiny", photons=0.01, offset=60.0, read_noise=12.0))

    assert min(int(counts.min()) for _, _, counts in dark.movie_blocks(20)) > 0


def test_where_nothing_shines_the_expected_counts_are_the_offset() -> None:
    bare = Fish(preset("tiny", seed=8, neuropil=0.0, **STILL))
    labels = bare.labels_at_plane(1) > 0
    seen = bare.clean_block(1, 0, 3)

    assert seen.min() == bare.settings.offset
    assert (seen[:, labels].min(axis=1) > bare.settings.offset).all()


def test_the_light_of_a_neuron_lies_at_its_place_and_adds_to_the_rest() -> None:
    fish = Fish(preset("tiny", seed=8, **STILL))
    s = fish.settings
    table = fish.cut_table()
    largest = table.nucleus[table.plane == 1][table.area_px[table.plane == 1].argmax()]
    seen = []
    for _ in range(3):
        seen.append(fish.clean_block(1, 0, 1)[0])
        fish.fluorescence = fish.fluorescence.copy()
        fish.fluorescence[largest - 1] += 10.0
    change = seen[1] - seen[0]

    np.testing.assert_allclose(seen[2] - seen[1], change, atol=0.01)  # float32 beside 1,000
    y, x = (np.indices(change.shape) * 2 + 0.5) * s.voxel_um[1]
    _, center_y, center_x = fish.centers_um[largest - 1]
    distance = np.hypot(y - center_y, x - center_x)
    reach = fish._nuclei.radii_um[largest - 1, 1] + s.cytosol_um + 3 * s.psf_sigma_um[1] + 1.0
    assert (change[distance > reach] == 0).all()
    assert (change >= 0).all()
    assert (change[fish.labels_at_plane(1) == largest] > 0).all()


def test_the_ventricle_is_empty_and_dark(demo: Fish) -> None:
    s, regions = demo.settings, demo._regions
    a, b, c = regions.cells.shape
    w, v, u = np.meshgrid(
        *((np.arange(n) + 0.5) / n * 2 - 1 for n in (a, b, c)), indexing="ij", sparse=True
    )
    slit = np.sqrt((u / 0.1) ** 2 + ((v - 0.15) / 0.5) ** 2 + (w / 1.1) ** 2)
    core = np.broadcast_to(slit < 0.5, regions.cells.shape)

    assert not regions.cells[np.broadcast_to(slit < 1, regions.cells.shape)].any()
    middle = s.shape_px[0] // 2
    labels, counts = (
        demo.labels_block(middle, middle + 1)[0],
        demo.structure_block(middle, middle + 1)[0],
    )
    rows = ((np.arange(s.shape_px[1]) + 0.5) * b / s.shape_px[1]).astype(int)
    columns = ((np.arange(s.shape_px[2]) + 0.5) * c / s.shape_px[2]).astype(int)
    inside = core[int((middle + 0.5) * a / s.shape_px[0])][np.ix_(rows, columns)]
    assert inside.sum() > 500
    assert (labels[inside] > 0).mean() < 0.02
    tissue = regions.tissue[a // 2][np.ix_(rows, columns)] > 0.95
    assert counts[inside].mean() < 0.75 * counts[tissue & (labels == 0)].mean()


def test_the_layout_is_equal_on_both_sides_of_the_midline(demo: Fish) -> None:
    regions = demo._regions

    np.testing.assert_array_equal(regions.cells, regions.cells[:, :, ::-1])
    np.testing.assert_allclose(regions.tissue, regions.tissue[:, :, ::-1], atol=1e-6)  # float32
    assert not regions.cells[regions.tissue < 0.05].any()


def test_diffuse_light_and_neuropil_end_at_the_brain(demo: Fish) -> None:
    seen = demo.clean_block(4, 0, 1)[0] - demo.settings.offset
    labels = demo.labels_at_plane(4)

    corner = seen[:6, :6].mean()
    assert corner < 0.2 * np.median(seen[labels > 0])


@pytest.mark.parametrize("margin", [3, 11])
def test_what_a_plane_shows_does_not_depend_on_the_margin(still: Fish, margin: int) -> None:
    z = int(still.slice_of_plane[1])
    scene = build_scene(still.settings, still._nuclei, still._regions, z=z, margin=margin)
    side = 64 + 2 * margin
    canvas = np.empty(side * side, dtype=np.float32)

    compose(scene, still.fluorescence, still._waves, 5, canvas)

    inner = canvas.reshape(side, side)[margin:-margin, margin:-margin]
    field = shading(still.settings, (64, 64))
    counts = inner * still.settings.gain * field + still.settings.offset
    np.testing.assert_allclose(counts, still.clean_block(1, 5, 6)[0], rtol=1e-5)  # float32


def test_waves_share_every_place_among_them(still: Fish) -> None:
    y, x = np.meshgrid(np.linspace(0, 64, 9), np.linspace(0, 64, 7), indexing="ij")
    shares = wave_shares(still.settings, y, x)

    assert shares.shape == (4, 9, 7)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, rtol=1e-5)  # float32
    assert still._waves.shape == (4, 40)
    assert np.abs(still._waves).max() < 0.5


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 2.5])
def test_a_blur_keeps_the_light(sigma: float) -> None:
    kernel = blur_kernel(sigma)

    assert kernel.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    assert len(kernel) == 2 * int(np.ceil(3 * sigma)) + 1


def test_regions_are_sampled_linearly_between_their_cells(demo: Fish) -> None:
    regions = demo._regions
    ramp = np.broadcast_to(
        np.arange(regions.cells.shape[2], dtype=np.float32), regions.cells.shape
    ).copy()
    x = np.linspace(5.0, 100.0, 13)

    seen = region_slice(ramp, regions, 30.0, np.array([40.0]), x)[0]

    expected = (x - regions.corner_um[2]) / regions.cell_um[2] - 0.5
    np.testing.assert_allclose(seen, expected, rtol=1e-5)  # float32


def test_blotches_are_a_function_of_the_place_alone() -> None:
    y, x = np.linspace(-2, 3, 11), np.linspace(0, 5, 9)
    whole, part = np.empty((11, 9), np.float32), np.empty((4, 3), np.float32)
    blotches(whole, 0.7, y, x, np.uint64(5))
    blotches(part, 0.7, y[3:7], x[2:5], np.uint64(5))

    np.testing.assert_array_equal(part, whole[3:7, 2:5])


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_pixels_beyond_those_asked_for_are_not_touched(n: int) -> None:
    out = np.full(10, 9, np.uint16)
    expected = np.full(10, 40.0, dtype=np.float32)

    expose(expected[:n], np.uint64(3), Sensor(5.0, 100.0, 8.0), out[:n])

    assert (out[n:] == 9).all()
    assert (out[:n] > 9).all()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_noise_of_a_pixel_does_not_depend_on_how_many_there_are(n: int) -> None:
    expected = np.full(10, 40.0, dtype=np.float32)
    long, short = np.empty(10, np.uint16), np.empty(n, np.uint16)
    expose(expected, np.uint64(3), Sensor(5.0, 100.0, 8.0), long)
    expose(expected[:n], np.uint64(3), Sensor(5.0, 100.0, 8.0), short)

    np.testing.assert_array_equal(short, long[:n])


def test_streams_of_other_purpose_place_or_seed_are_unrelated() -> None:
    first = stream(1, Purpose.SPIKES, 0).random(4)

    np.testing.assert_array_equal(first, stream(1, Purpose.SPIKES, 0).random(4))
    others = [(1, Purpose.DRIVE, 0), (1, Purpose.SPIKES, 1), (2, Purpose.SPIKES, 0)]
    assert not any(np.isin(first, stream(*which).random(4)).any() for which in others)
    keys = {int(key(s, p, k)) for s in (1, 2) for p in Purpose for k in range(3)}
    assert len(keys) == 2 * len(Purpose) * 3


def test_smooth_noise_has_unit_variance_and_the_wanted_width() -> None:
    noise = smooth_noise(np.random.default_rng(0), (20_000, 2), 4.0)

    # About 20,000 / 14 independent values a column.
    assert noise.std() == pytest.approx(1.0, abs=0.06)
    # Noise smoothed by a Gaussian of sigma s correlates at lag s as exp(-1/4).
    r = np.corrcoef(noise[4:, 0], noise[:-4, 0])[0, 1]
    assert r == pytest.approx(np.exp(-0.25), abs=0.03)


@pytest.mark.parametrize("sigma_um", [(2.0, 0.0), (0.0, 0.9), (1.5, 0.6)])
def test_the_structure_is_blurred_by_so_many_micrometres_along_each_axis(
    sigma_um: tuple[float, float],
) -> None:
    oblong = {"shape_px": (32, 112, 144), "voxel_um": (1.0, 0.55, 0.45), "seed": 3}
    bare = {"shading": 0.0, "structure_background": 0.0, "attenuation_um": 1e9, **oblong}

    def photons(psf: tuple[float, float]) -> np.ndarray:
        fish = Fish(preset("tiny", psf_sigma_um=psf, **bare))
        parts = fish.settings, fish._nuclei, fish._regions, fish._brightness
        return structure_photons(*parts, start=0, stop=32)

    seen = photons((0.0, 0.0))
    widths = (sigma_um[0] / 1.0, sigma_um[1] / 0.55, sigma_um[1] / 0.45)
    for axis, sigma in enumerate(widths):
        if sigma:
            seen = gaussian_filter1d(
                seen, sigma, axis=axis, mode="nearest", radius=int(np.ceil(3 * sigma))
            )
    inner = np.s_[8:-8]  # nuclei above and below the stack are seen in its ends
    np.testing.assert_allclose(photons(sigma_um)[inner], seen[inner], atol=2e-3)  # float32 of 60


def test_the_light_inside_a_nucleus_is_its_brightness_with_a_texture_in_micrometres() -> None:
    labels = np.zeros((3, 8, 10), np.uint32)
    labels[1, 2:6, 3:8], labels[2, 1, 1] = 1, 2
    brightness, seed = np.array([2.0, 5.0]), np.uint64(77)
    grid = Grid(np.array([4.0, -1.0, 0.5]), np.array([1.0, 0.55, 0.45]))
    out = np.full(labels.shape, 3.0, np.float32)

    paint_light(out, labels, brightness, seed, grid)

    for place in np.ndindex(labels.shape):
        z, y, x = (grid.origin_um + np.array(place) * grid.step_um) / TEXTURE_UM
        label = labels[place]
        bump = 1 + TEXTURE * lattice_noise(z, y, x, seed)
        expected = 3.0 + (brightness[label - 1] * bump if label else 0.0)
        assert out[place] == pytest.approx(expected, rel=1e-6)  # float32


def test_the_cytosol_is_shared_by_the_cells_that_reach_a_voxel() -> None:
    centers = np.array([[5.0, 10.0, 8.0], [5.0, 10.0, 12.2]])
    nuclei = Nuclei(centers, np.array([[4.0, 2.0, 2.0]] * 2), np.zeros(2))
    grid = Grid(np.zeros(3), np.array([1.0, 0.5, 0.5]))
    labels = np.zeros((11, 40, 44), np.uint32)
    rows = np.arange(2)
    paint_labels(labels, rows, nuclei.table(), grid)
    shared = np.zeros(labels.shape, np.uint8)
    slab = Slab(labels, shared, np.zeros(11), np.ones(1), grid, 1.0, 0.3)

    count_rings(slab, rows, nuclei.table())

    assert (shared[labels > 0] == 0).all()
    assert shared.max() == 2
    between = labels[5, 20, 18:23] == 0
    assert (shared[5, 20, 18:23][between] == 2).all()
    assert shared[5, 20, 11] == 1  # to the left of the first cell
    assert shared[5, 2, 2] == 0


def test_the_ring_grows_along_z_in_proportion_to_its_growth_across() -> None:
    nuclei = Nuclei(np.array([[8.0, 10.0, 10.0]]), np.array([[5.0, 2.0, 2.0]]), np.zeros(1))
    grid = Grid(np.zeros(3), np.array([0.5, 0.25, 0.25]))
    labels = np.zeros((33, 80, 80), np.uint32)
    paint_labels(labels, np.arange(1), nuclei.table(), grid)
    slab = Slab(labels, np.zeros(labels.shape, np.uint8), np.zeros(33), np.ones(1), grid, 1.0, 0.3)

    count_rings(slab, np.arange(1), nuclei.table())

    inside = (labels > 0).sum()
    # The centre lies on a voxel, which takes two per cent of a body of 2,700 voxels.
    assert inside / 32 == pytest.approx(4 / 3 * np.pi * 20, rel=0.02)
    assert (inside + slab.shared.sum()) / inside == pytest.approx(1.5**3, rel=0.02)


def test_a_cell_sends_the_same_light_wherever_it_lies_on_the_pixels() -> None:
    settings = preset("tiny", cytosol_um=0.9, nuclear_leak=0.5, psf_sigma_um=(0.5, 0.5))
    sums = []
    for shift in (0.0, 0.13, 0.5, 0.77):
        nuclei = Nuclei(
            np.array([[9.0, 31.0 + shift, 33.0]]), np.array([[5.0, 2.6, 2.4]]), np.zeros(1)
        )
        scene = build_scene(settings, nuclei, build_regions(settings), z=9, margin=4)
        assert scene.rows.tolist() == [0]
        assert scene.first.tolist() == [0, len(scene.weights)]
        sums.append(scene.weights.sum())

    # Voxels of 0.5 um: their number inside the cell changes by a few per cent.
    np.testing.assert_allclose(sums, np.mean(sums), rtol=0.05)


@pytest.mark.parametrize("edge", ["top", "left", "bottom", "right"])
def test_a_cell_beyond_the_edge_shines_only_on_its_own_side(edge: str) -> None:
    settings = preset("tiny")
    away = {"top": (0.5, 32.0), "left": (32.0, 0.5), "bottom": (63.0, 32.0), "right": (32.0, 63.0)}
    center = np.array([[9.0, *away[edge]]])
    nuclei = Nuclei(center, np.array([[5.0, 2.6, 2.6]]), np.zeros(1))
    scene = build_scene(settings, nuclei, build_regions(settings), z=9, margin=4)

    canvas = np.zeros(72 * 72)
    np.add.at(canvas, scene.pixels, scene.weights)
    rows, columns = np.nonzero(canvas.reshape(72, 72))
    # Functional pixels of 1 um; the canvas begins 4 pixels before the frame.
    assert np.abs(rows - 4 - (center[0, 1] - 0.25)).max() < 6
    assert np.abs(columns - 4 - (center[0, 2] - 0.25)).max() < 6
    assert len(rows) > 8
