"""Two programs run the shipped network and find the same nuclei."""

import pickle
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="one of the two programs")
pytest.importorskip("onnx", reason="reads the file for torch")

from clgkit.errors import MissingDependency  # noqa: E402
from clgkit.segmentation.network import (  # noqa: E402
    NucleusNetwork,
    segment_network,
    shipped_network,
)
from clgkit.segmentation.score import match_labels  # noqa: E402
from clgkit.segmentation.training_graph import answer, read_onnx  # noqa: E402
from clgkit.workspace import Workspace  # noqa: E402
from tests.unit.segmentation_scene import VOXEL_UM, make_scene  # noqa: E402
from tests.unit.segmentation_stage_scene import FITS, segmented, stack  # noqa: E402

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


ON_TORCH = "cpu:0"
"""A device by any other name than "cpu" is one of torch, even where it is the processor."""


def moved() -> NucleusNetwork:
    return NucleusNetwork(shipped_network().weights, device=ON_TORCH)


@pytest.mark.parametrize("voxel_um", [VOXEL_UM, (0.7, 0.4, 0.4)])
def test_another_device_finds_the_same_nuclei(voxel_um: tuple[float, float, float]) -> None:
    image = make_scene((20, 90, 80), n_nuclei=70).image
    size = {"voxel_um": voxel_um, "diameter_um": 6.0}

    ours = segment_network(image, **size).labels
    theirs = segment_network(image, network=moved(), **size).labels

    assert ours.max() == theirs.max() > 20
    assert np.count_nonzero(ours != theirs) <= 1e-4 * image.size  # as above


def test_a_device_works_on_many_slices_together(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    together = NucleusNetwork.run_together

    def watch(self: NucleusNetwork, channels: np.ndarray) -> np.ndarray:
        shapes.append(channels.shape)
        return together(self, channels)

    monkeypatch.setattr(NucleusNetwork, "run_together", watch)
    image = make_scene((20, 64, 64), n_nuclei=30).image
    size = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}

    segment_network(image, network=moved(), slab_px=20, **size)
    assert shapes == [(16, 8, 64, 64), (4, 8, 64, 64)]
    shapes.clear()
    segment_network(image, slab_px=20, **size)
    assert set(shapes) == {(1, 8, 64, 64)}


def test_one_slice_and_many_get_the_same_answer() -> None:
    channels = np.random.default_rng(3).normal(size=(3, 8, 16, 20)).astype(np.float32)
    network = moved()

    many = network.run_together(channels)

    assert many.shape == (3, 2, 16, 20)
    for one, answer_of_many in zip(channels, many, strict=True):
        np.testing.assert_allclose(network.run(one), answer_of_many, atol=TOLERANCE)
        np.testing.assert_allclose(shipped_network().run(one), answer_of_many, atol=TOLERANCE)


def test_the_device_travels_with_the_network() -> None:
    packed = pickle.loads(pickle.dumps(moved()))  # noqa: S301  (just packed)

    assert packed == moved()
    assert packed.module.leave.weight.device.type == "cpu"


@pytest.fixture
def any_device(monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose device is torch's processor."""
    monkeypatch.setattr("clgkit.workspace._check_device", str)  # which refuses nothing
    return Workspace(executor="serial", device=ON_TORCH)


def test_the_stage_runs_the_network_on_the_device_of_the_workspace(
    any_device: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = segmented(stack(), **FITS)
    monkeypatch.setattr(NucleusNetwork, "session", None)  # onnxruntime is out

    made = segmented(stack(), workspace=any_device, **FITS)

    differing = np.count_nonzero(made.labels.values != wanted.labels.values)
    assert differing <= 1e-4 * wanted.labels.size
    assert made.summary["n_nuclei"] == wanted.summary["n_nuclei"]


def test_a_device_without_torch_is_told_in_a_sentence(
    any_device: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "clgkit.segmentation.training_graph", None)

    with pytest.raises(MissingDependency, match=r"on the device 'cpu:0': pip install 'clgkit\[de"):
        segmented(stack(), workspace=any_device, **FITS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same_nuclei() -> None:
    image = make_scene((20, 90, 80), n_nuclei=70).image
    size = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}
    network = NucleusNetwork(shipped_network().weights, device="cuda")

    ours = segment_network(image, **size).labels
    theirs = segment_network(image, network=network, **size).labels

    same = match_labels(ours, theirs).iou > 0.99
    assert same.sum() >= 0.995 * ours.max()


@pytest.mark.parametrize("shape", [(16, 16), (64, 48)])
def test_outputs_are_the_same(shape: tuple[int, int]) -> None:
    network = shipped_network()
    channels = np.random.default_rng(2).normal(size=(8, *shape)).astype(np.float32)

    theirs = answer(read_onnx(network.weights), channels)

    np.testing.assert_allclose(network.run(channels), theirs, atol=TOLERANCE, rtol=TOLERANCE)
