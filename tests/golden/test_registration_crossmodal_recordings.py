"""Real nuclei find their depth, and two means of one recording find each other."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from clgkit.registration import (
    estimate_rigid,
    make_template,
    match_planes,
    register_plane,
    warp_image,
)


def read(shared: Path, name: str) -> npt.NDArray[np.generic]:
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data")
    made: npt.NDArray[np.generic] = tifffile.imread(path)
    return made


def test_inverted_nuclei_lie_between_their_neighbours(shared: Path) -> None:
    """Mouse nuclei (CellSeg3D, mesoSPIM): odd slices, inverted, sought among the even ones."""
    stack = read(shared, "volumes/cellseg3d_c5image_nolabel.tif").astype(np.float32)
    wanted = np.array([11, 25, 41, 61, 81, 101])
    planes = stack.max() - stack[wanted]
    planes += 0.3 * planes.std() * np.random.default_rng(0).normal(size=planes.shape)
    found = match_planes(planes, stack[::2], max_shift_px=8, nucleus_px=7)

    assert found.found.all()
    assert np.abs(2 * found.position - wanted).max() < 1  # slices of the whole stack
    assert np.abs(found.shift_px).max() < 0.3


def test_two_means_of_kenyon_cells_find_each_other(shared: Path) -> None:
    """Fly Kenyon cells, two cycles of one recording (two-photon-toolbox), a pixel apart."""
    first, second = (
        make_template(read(shared, f"movies/kenyon2p_cycle{n}.tif")).astype(np.float32)
        for n in (1, 2)
    )
    rigid = estimate_rigid(first[np.newaxis], second).shift_px[0]
    found = register_plane(second, first, nucleus_px=8)
    inner = np.s_[30:-30, 30:-30]
    moved = warp_image(first, found.field)[inner]

    np.testing.assert_allclose(-found.field[inner].mean(axis=(0, 1)), rigid, atol=0.15)
    assert np.corrcoef(moved.ravel(), second[inner].ravel())[0, 1] > 0.94
    assert found.inverse_consistency_px < 0.01
