from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from clgkit.simulate import Fish, preset
from clgkit.simulate.anatomy import Nuclei, build_regions, place_nuclei
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


@pytest.mark.parametrize(
    ("cv", "limits"),
    [(0.18, (5.2, 5.2)), (0.18, (5.1999, 5.2001)), (0.0, (4.0, 7.0)), (0.5, (5.2, 9.0))],
    ids=["one size", "a narrow range", "no spread", "mean at the edge"],
)
def test_sizes_lie_in_any_range_that_holds_the_mean(cv: float, limits: tuple[float, float]) -> None:
    settings = preset("tiny", n_neurons=60, diameter_cv=cv, diameter_range_um=limits)
    nuclei = place_nuclei(settings, build_regions(settings))
    diameter = 2 * np.sqrt(nuclei.radii_um[:, 1] * nuclei.radii_um[:, 2])

    # Nuclei that would still touch are shrunk by a hundredth at most.
    assert diameter.max() <= limits[1] + 1e-9
    assert diameter.min() >= 0.97 * limits[0]


@pytest.mark.parametrize("stretch", [1.0, 2.2, 3.0])
def test_a_nucleus_is_as_long_as_the_stretch_says(stretch: float) -> None:
    settings = preset("tiny", axial_stretch=stretch, shape_px=(48, 128, 128))
    half, major, minor = place_nuclei(settings, build_regions(settings)).radii_um.T

    np.testing.assert_allclose(half, stretch * np.sqrt(major * minor), rtol=1e-12)
    assert ((minor / major > 0.92) & (minor / major <= 1.0)).all()


def test_a_larger_filling_makes_the_layers_smaller() -> None:
    loose = build_regions(preset("tiny", n_neurons=60, filled_fraction=0.2)).cells.sum()
    dense = build_regions(preset("tiny", n_neurons=60, filled_fraction=0.4)).cells.sum()

    assert loose == pytest.approx(2 * dense, rel=0.01)  # whole grid cells on two sides


def test_volumes_are_those_of_ellipsoids() -> None:
    radii = np.array([[3.0, 2.0, 1.0]])
    nuclei = Nuclei(np.zeros((1, 3)), radii, np.zeros(1))

    assert nuclei.volumes_um3() == pytest.approx(8 * np.pi)
    assert nuclei.near(2.9, 10.0).tolist() == [0]
    assert nuclei.near(3.1, 10.0).tolist() == []
    assert nuclei.near(-9.0, -3.0).tolist() == [0]


def test_every_nucleus_of_a_single_neuron_fish_is_inside_the_stack() -> None:
    fish = Fish(preset("tiny", n_neurons=1, n_modules=2))

    assert fish.labels_block(0, 32).max() == 1
    assert fish.ideal_correlation([1]).shape == (1, 1)


def test_packing_does_not_depend_on_the_unit_of_length() -> None:
    allowed = np.ones((6, 6, 6), dtype=bool)
    radii = np.random.default_rng(3).uniform(0.8, 1.2, 60)
    small, large = (
        pack_spheres(
            radii * unit, allowed=allowed, cell=(2.0 * unit,) * 3, rng=np.random.default_rng(1)
        )
        for unit in (1.0, 8.0)
    )

    np.testing.assert_allclose(large.centers, 8 * small.centers, rtol=1e-9)
    np.testing.assert_allclose(large.scale, small.scale, rtol=1e-9)


def test_nothing_to_pack_is_packed() -> None:
    packed = pack_spheres(
        np.empty(0), allowed=np.ones((2, 2, 2), bool), cell=(1.0,) * 3, rng=np.random.default_rng(0)
    )

    assert packed.centers.shape == (0, 3)
