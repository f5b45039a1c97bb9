"""What `segment_nuclei` refuses before it starts, and when it doubts what it was told."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr

from clgkit import data
from clgkit.errors import DataError
from clgkit.segmentation.classical import grow_nuclei, seed_threshold, segment_classical
from clgkit.segmentation.network import segment_network
from clgkit.segmentation.network_objects import find_network_seeds, grow_network_nuclei
from clgkit.simulate.curriculum import Recipe, make_stack
from clgkit.stages._segment_checks import FEWEST, warn_of_doubts
from clgkit.stages._segment_found import Found, table_of
from clgkit.stages.segment_nuclei import SegmentNuclei, segment_nuclei
from tests.unit.segmentation_stage_scene import FITS, SERIAL, labels_of, segmented, stack

VOLUMES = Path(__file__).parents[2].parent / "shared" / "data" / "volumes"
NAMES = {
    "threshold": "min_probability",
    "peak": "min_peak",
    "min_volume_share": "min_volume_share",
    "noise_factor": "noise_factor",
    "peak_share": "peak_share",
    "height_share": "height_share",
}
"""Argument of an array function to setting of the stage."""


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (segment_network, {"threshold", "peak", "min_volume_share"}),
        (find_network_seeds, {"threshold", "peak"}),
        (grow_network_nuclei, {"threshold", "min_volume_share"}),
        (segment_classical, {"noise_factor", "peak_share", "height_share", "min_volume_share"}),
        (seed_threshold, {"noise_factor", "peak_share"}),
        (grow_nuclei, {"height_share", "min_volume_share"}),
    ],
)
def test_the_stage_and_the_array_functions_have_one_set_of_defaults(
    function: Any, wanted: set[str]
) -> None:
    given = inspect.signature(function).parameters
    shared = {name: given[name].default for name in NAMES if name in given}

    assert set(shared) == wanted
    assert shared == {name: getattr(SegmentNuclei(), NAMES[name]) for name in shared}


def scaled(factor: float) -> xr.DataArray:
    """Return the stack of the fish with its voxels said to be larger or smaller."""
    z, y, x = (factor * side for side in (1.0, 0.5, 0.5))
    return data.volume(stack().values, voxel_um=(z, y, x))


def run(volume: xr.DataArray, **settings: Any) -> Any:
    return segment_nuclei(volume, params=SegmentNuclei(**(FITS | settings)), workspace=SERIAL)


@pytest.mark.parametrize("method", ["network", "classical"])
@pytest.mark.parametrize(
    ("factor", "seen"), [(2.0, r"nuclei look 1\d um wide"), (0.5, r"nuclei look 2\.\d um wide")]
)
def test_a_wrong_voxel_size_is_doubted_in_one_sentence(
    method: str, factor: float, seen: str
) -> None:
    with pytest.warns(UserWarning, match=f"{seen} where 5.2 um is said") as told:
        run(scaled(factor), method=method)

    assert len(told) == 1
    sentence = str(told[0].message)
    assert f"the voxel size ({2 * factor / 2:.3g} x {factor / 2:.3g} x" in sentence
    assert "the diameter (5.2 um)" in sentence
    assert told[0].filename == __file__


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("method", ["network", "classical"])
def test_a_size_that_is_about_right_is_not_doubted(method: str, factor: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(scaled(factor), method=method)


def test_an_estimated_diameter_is_not_estimated_twice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(scaled(1.6), diameter_um="estimated")


def published(name: str) -> np.ndarray:
    path = VOLUMES / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data/volumes")
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file["raw"])
    return tifffile.imread(path)


@pytest.mark.parametrize(
    ("name", "voxel_um", "said"),
    [
        ("stardist_img3d.tif", (2.0, 1.0, 1.0), (14.5, 0.966)),
        ("gonuclear_1135_mini.h5", (0.284, 0.127, 0.127), (4.0, 1.5)),
        ("qcanet_16cell_raw.tif", (1.0, 1.0, 1.0), (17.0, 0.647)),
        ("plantseg_rgb_3D_0.tiff", (1.0, 1.0, 1.0), (28.5, 1.19)),
    ],
)
def test_published_volumes_are_not_doubted(
    name: str, voxel_um: tuple[float, float, float], said: tuple[float, float]
) -> None:
    volume = data.volume(published(name), voxel_um=voxel_um)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(volume, diameter_um=said[0], elongation=said[1])


def test_objects_that_are_hardly_nuclei_are_doubted() -> None:
    volume = data.volume(published("cellseg3d_c5image_nolabel.tif"), voxel_um=(1.0, 1.0, 1.0))

    with pytest.warns(UserWarning, match=r"\d+ of the \d+ nuclei that no face cuts are suspect"):
        run(volume, diameter_um=8.0, elongation=1.0)


def test_blotches_that_look_like_nuclei_are_doubted() -> None:
    recipe = Recipe(
        shape_px=(32, 144, 144), filling=0.0, background=0.4, background_sd=0.7, blotch_share=0.7
    )
    volume = data.volume(make_stack(recipe, seed=5).image, voxel_um=recipe.voxel_um)

    with pytest.warns(UserWarning, match=r"\d+ of the \d+ nuclei that no face cuts are suspect"):
        run(volume, diameter_um=6.0, elongation=1.0)


def doubts_of(n_nuclei: int, n_faint: int, *, at_face: bool) -> list[str]:
    """Return what is said of nuclei of which some are faint."""
    values = np.zeros((24, 80, 80), np.uint32)
    for k in range(n_nuclei):
        z = 0 if at_face else 4
        values[
            z : z + 3, 8 * (k // 9) + 3 : 8 * (k // 9) + 8, 8 * (k % 9) + 3 : 8 * (k % 9) + 8
        ] = k + 1
    like = labels_of(values)
    faint = like.copy(data=np.where(values <= n_faint, 150, 240).astype(np.uint8))
    nuclei = table_of(Found(like, None, faint, like.copy(data=np.full_like(faint, 190))))
    size = {"voxel_um": (1.0, 0.5, 0.5), "diameter_um": (6.0, 3.0, 3.0)}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_doubts(stack(), nuclei, size, is_estimated=True)
    return [str(one.message) for one in told]


def test_a_quarter_of_the_nuclei_may_be_suspect() -> None:
    assert doubts_of(40, 10, at_face=False) == []
    (sentence,) = doubts_of(40, 11, at_face=False)
    assert sentence.startswith("11 of the 40 nuclei that no face cuts are suspect: check")


def test_few_nuclei_and_those_at_faces_tell_nothing() -> None:
    assert doubts_of(FEWEST - 1, FEWEST - 1, at_face=False) == []
    assert doubts_of(40, 40, at_face=True) == []


@pytest.mark.parametrize("method", ["network", "classical"])
@pytest.mark.parametrize("shape", [(24, 15, 80), (24, 80, 15), (24, 15, 15)])
def test_a_narrow_stack_is_refused(method: str, shape: tuple[int, int, int]) -> None:
    volume = data.volume(np.zeros(shape, np.uint16), voxel_um=(1.0, 0.5, 0.5))

    with pytest.raises(DataError, match=rf"{shape[1]} x {shape[2]} pixels .*wanted 16 or") as told:
        segmented(volume, method=method)
    assert "Give a larger piece" in told.value.message


@pytest.mark.parametrize("channels", [3, 4])
def test_a_colour_image_read_as_a_stack_is_told(channels: int) -> None:
    volume = data.volume(np.zeros((96, 96, channels), np.uint8), voxel_um=(1.0, 0.5, 0.5))

    with pytest.raises(DataError, match=f"x axis of {channels} looks like the channels of a col"):
        segmented(volume)


def test_sixteen_pixels_are_enough() -> None:
    volume = stack().isel(y=slice(0, 16), x=slice(0, 16))

    assert segmented(volume, **FITS).labels.shape == (24, 16, 16)


def test_a_stack_thinner_than_a_nucleus_is_told() -> None:
    with pytest.warns(UserWarning, match=r"is 3 um thick \(3 slices\), less than a nucleus of 5.2"):
        run(stack().isel(z=slice(10, 13)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(stack().isel(z=slice(8, 14)))
