"""The shipped network on real and published volumes that it has never seen."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from clgkit.segmentation import score_labels
from clgkit.segmentation.network import NetworkNuclei, segment_network

VOLUMES = Path(__file__).parents[2].parent / "shared" / "data" / "volumes"
PIXELS = (1.0, 1.0, 1.0)


def at_hand(name: str) -> Path:
    path = VOLUMES / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand in ../shared/data/volumes")
    return path


def segment(name: str, diameter_um: float | tuple[float, float, float]) -> NetworkNuclei:
    return segment_network(tifffile.imread(at_hand(name)), voxel_um=PIXELS, diameter_um=diameter_um)


def test_all_sixteen_nuclei_of_an_embryo_are_found() -> None:
    truth = ndimage.label(tifffile.imread(at_hand("qcanet_16cell_nsn.tif")) > 0)[0]

    score = score_labels(truth, segment("qcanet_16cell_raw.tif", (11.0, 17.0, 17.0)).labels)

    assert (score.true_positives, score.n_predicted) == (16, 16)


def test_a_published_synthetic_volume_is_segmented() -> None:
    truth = tifffile.imread(at_hand("stardist_mask3d.tif"))

    score = score_labels(truth, segment("stardist_img3d.tif", (7.0, 15.0, 14.0)).labels)

    assert score.f1 >= 0.75  # no such volume was in the training


def test_tissue_unlike_the_training_is_not_filled_with_nuclei() -> None:
    labels = segment("cellseg3d_c5image_nolabel.tif", 8.0).labels

    assert 500 <= labels.max() <= 1300
    assert np.mean(labels > 0) < 0.5
