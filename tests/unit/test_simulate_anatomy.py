from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from clgkit.simulate import Fish, preset
from clgkit.simulate.anatomy import build_regions, place_nuclei
from clgkit.simulate.packing import pack_spheres


@pytest.fixture(scope="module")
def demo() -> Fish:
    return Fish(preset("demo", n_frames=2))


def test_packed_spheres_keep_apart_and_inside() -> None:
    rng = np.random.default_rng(0)
    radii = rng.uniform(0.8, 1.2, 300)
    allowed = np.zeros((9, 9, 9), dtype=bool)
    allowed[:, :, 2:] = True

    packed = pack_spheres(radii, allowed=allowed, cell=(1.8, 1.8, 1.8), rng=rng, gap=0.1)

    radii = radii * packed.scale
    pairs = cKDTree(packed.centers).query_pairs(2.4, output_type="ndarray")
    distance = np.linalg.norm(packed.centers[pairs[:, 0]] - packed.centers[pairs[:, 1]], axis=1)
    assert (distance >= radii[pairs].sum(axis=1)).all()
    assert packed.scale.min() > 0.97
    assert allowed[tuple((packed.centers / 1.8).astype(int).T)].all()


def test_spheres_that_cannot_fit_shrink() -> None:
    rng = np.random.default_rng(0)
    allowed = np.ones((2, 2, 2), dtype=bool)

    packed = pack_spheres(np.ones(40), allowed=allowed, cell=(1.0,) * 3, rng=rng, max_rounds=80)

    pairs = cKDTree(packed.centers).query_pairs(2.0, output_type="ndarray")
    distance = np.linalg.norm(packed.centers[pairs[:, 0]] - packed.centers[pairs[:, 1]], axis=1)
    # The radii are products of quotients: one rounding error each.
    assert (packed.scale[pairs].sum(axis=1) <= distance * (1 + 1e-12)).all()


def test_no_room_at_all_is_refused() -> None:
    nowhere = np.zeros((3, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match="no place is allowed"):
        pack_spheres(np.ones(2), allowed=nowhere, cell=(1.0,) * 3, rng=np.random.default_rng(0))


def test_more_nuclei_than_the_brain_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="place fewer nuclei"):
        build_regions(preset("tiny", n_neurons=5_000))


def test_centres_lie_in_the_cell_layers() -> None:
    settings = preset("tiny", seed=5)
    regions = build_regions(settings)
    nuclei = place_nuclei(settings, regions)

    grid = (nuclei.centers_um - regions.corner_um) / regions.cell_um
    assert regions.cells[tuple(grid.astype(int).T)].all()
    assert (np.diff(nuclei.centers_um[:, 0]) >= 0).all()


def test_the_demo_has_the_published_overcount_and_density(demo: Fish) -> None:
    table = demo.cut_table()
    distinct = len(np.unique(table.nucleus))
    labels = demo.labels_block(4, 62)
    cells = demo._regions.cells
    grid = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(demo.settings.shape_px, cells.shape, strict=True)
    ]
    layers = cells[np.ix_(*grid)][4:62]

    assert 1.6 <= len(table.nucleus) / distinct <= 2.0
    assert 1_400 <= distinct <= 1_600
    assert (labels > 0)[layers].mean() == pytest.approx(0.40, abs=0.04)


def test_sizes_are_those_of_zebrafish_neurons(demo: Fish) -> None:
    half, major, minor = demo._nuclei.radii_um.T
    diameter = 2 * np.sqrt(major * minor)

    # Where two nuclei would still touch they shrink by at most a hundredth.
    assert diameter.min() > 3.96
    assert diameter.max() < 7.0
    assert diameter.std() / diameter.mean() == pytest.approx(0.13, abs=0.02)
    assert np.median(2 * half) == pytest.approx(11.4, abs=0.5)  # slices of 1 µm
