"""Real recordings: their noise is what was measured before, and denoising lowers the error."""

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from clgkit.denoising import denoise_gaussian, denoise_lowrank, judge, measure_noise
from clgkit.denoising.noise import AVERAGED

# Correlation of the noise of neighbours along y and x, measured once by other means on the same
# files and written down to two digits; single movies and crops scatter by 0.01.
NEIGHBOURS = {
    "fmi2p_frames0001-0400.tif": (0.01, 0.24),
    "kenyon2p_cycle1.tif": (0.01, 0.13),
    "allen_movie_100x100x100.h5": (0.27, 0.36),
    "thunder_mouse2p_500x64x64.tif": (0.40, 0.40),
}
SCATTER = 0.04


def read(shared: Path, name: str) -> npt.NDArray[np.generic]:
    path = shared / "data" / "movies" / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data")
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            made: npt.NDArray[np.generic] = file["data"][:]
            return made
    with tifffile.TiffFile(path) as file:
        return np.stack([page.asarray() for page in file.pages])


def low_rank(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return denoise_lowrank(frames).denoised


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_noise_of_neighbours_correlates_as_measured(shared: Path, name: str) -> None:
    noise = measure_noise(read(shared, name))

    assert noise.neighbours == pytest.approx(NEIGHBOURS[name], abs=SCATTER)
    assert noise.is_correlated
    assert abs(noise.in_time) < AVERAGED


def test_a_light_sheet_movie_of_few_grey_levels_seems_averaged(shared: Path) -> None:
    frames = read(shared, "thunder_fish_lightsheet_240x2x76x87.tif")
    noise = measure_noise(frames.reshape(240, 2, 76, 87)[:, 0])

    assert noise.in_time > AVERAGED


def test_two_photon_frames_lose_more_noise_than_to_a_gaussian(shared: Path) -> None:
    frames = read(shared, "fmi2p_frames0001-0400.tif")[:, 96:144, 96:144].astype(np.float32)
    noise = measure_noise(frames)

    ours = judge(frames, noise, low_rank)
    gaussian = judge(frames, noise, denoise_gaussian, reference=low_rank)

    assert 0 < ours.heldout_excess < gaussian.heldout_excess / 2
    assert ours.peak > 0.9 > gaussian.peak


def test_signed_counts_of_a_hundred_frames_are_denoised(shared: Path) -> None:
    frames = read(shared, "allen_movie_100x100x100.h5")

    found = denoise_lowrank(frames[:, :64, :64])

    assert found.denoised.dtype == np.float32
    assert np.isfinite(found.denoised).all()
    assert found.components.n_components.max() <= 6  # a hundred frames show little
    removed = frames[:, :64, :64] - found.denoised
    assert np.var(removed / found.noise.sigma) == pytest.approx(1, abs=0.1)
