"""Two programs run the shipped network and find the same nuclei."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="one of the two programs")
pytest.importorskip("onnx", reason="reads the file for torch")

from clgkit.segmentation.network import (  # noqa: E402
    NucleusNetwork,
    segment_network,
    shipped_network,
)
from clgkit.segmentation.score import match_labels  # noqa: E402
from clgkit.segmentation.training_graph import answer, read_onnx  # noqa: E402
from tests.unit.segmentation_scene import VOXEL_UM, make_scene  # noqa: E402

TOLERANCE = 1e-4  # onnxruntime folds BatchNorm into the convolutions


class InTorch(NucleusNetwork):
    """The same file, run by torch."""

    def run(self, channels: np.ndarray) -> np.ndarray:
        return answer(read_onnx(self.weights), channels)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("photons", [5.0, 40.0])
def test_labels_are_the_same(photons: float) -> None:
    image = make_scene((16, 72, 80), n_nuclei=60, photons=photons).image
    size = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}

    ours = segment_network(image, **size).labels
    theirs = segment_network(image, network=InTorch(shipped_network().weights), **size).labels

    assert ours.max() == theirs.max() > 20
    # Maps are rounded to 1/255: a voxel on the threshold may fall to the other side.
    assert np.count_nonzero(ours != theirs) <= 1e-4 * image.size
    assert match_labels(ours, theirs).iou.min() > 0.99


@pytest.mark.parametrize("shape", [(16, 16), (64, 48)])
def test_outputs_are_the_same(shape: tuple[int, int]) -> None:
    network = shipped_network()
    channels = np.random.default_rng(2).normal(size=(8, *shape)).astype(np.float32)

    theirs = answer(read_onnx(network.weights), channels)

    np.testing.assert_allclose(network.run(channels), theirs, atol=TOLERANCE, rtol=TOLERANCE)
