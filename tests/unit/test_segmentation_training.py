from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from clgkit.segmentation.fine_tuning import FineRecipe, fine_tune  # noqa: E402
from clgkit.segmentation.network import NucleusNetwork, segment_network, shipped_network  # noqa: E402
from clgkit.segmentation.training import (  # noqa: E402
    Progress,
    Trainer,
    held_out_loss,
    rate_at,
)
from clgkit.segmentation.training_graph import (  # noqa: E402
    NucleusNet,
    read_onnx,
    write_onnx,
)
from clgkit.segmentation.training_samples import LabelledStack, label_stack  # noqa: E402
from tests.unit.segmentation_scene import VOXEL_UM, make_scene  # noqa: E402

SIZE = {"voxel_um": VOXEL_UM, "diameter_um": 6.0}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stack() -> LabelledStack:
    scene = make_scene((12, 100, 100), n_nuclei=110)
    return label_stack(scene.image, scene.labels, **SIZE)


def used_net(seed: int = 0) -> NucleusNet:
    """A network whose every tensor has been somewhere."""
    torch.manual_seed(seed)
    net = NucleusNet()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.add_(
                0.1 * torch.randn_like(tensor)
            )
        else:
            tensor.fill_(37)
    return net.eval()


def output(net: NucleusNet, channels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(channels[None])).numpy()[0]


def test_the_network_has_the_size_that_was_planned() -> None:
    assert sum(p.numel() for p in NucleusNet().parameters()) == 98_898


@pytest.mark.parametrize("shape", [(64, 96), (4, 4), (20, 36)])
def test_onnxruntime_and_torch_agree(shape: tuple[int, int]) -> None:
    net = used_net()
    channels = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)

    ours = NucleusNetwork(write_onnx(net)).run(channels)

    # onnxruntime folds BatchNorm into the convolutions.
    np.testing.assert_allclose(ours, output(net, channels), atol=1e-4, rtol=1e-4)


def test_the_shipped_file_gives_the_same_in_torch() -> None:
    shipped = shipped_network()
    channels = np.random.default_rng(1).normal(size=(8, 48, 48)).astype(np.float32)

    theirs = output(read_onnx(shipped.weights).eval(), channels)

    np.testing.assert_allclose(shipped.run(channels), theirs, atol=1e-4, rtol=1e-4)


def test_the_state_survives_the_file_exactly() -> None:
    net = used_net()

    again = read_onnx(write_onnx(net, notes={"seed": "3"})).state_dict()

    assert again.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(again[name], tensor), name


def test_the_same_network_gives_the_same_bytes() -> None:
    assert write_onnx(used_net()) == write_onnx(used_net())


def test_a_file_of_another_network_is_refused_by_name() -> None:
    model = onnx.load_from_string(write_onnx(used_net()))
    model.graph.initializer[0].name = "first.weight"

    with pytest.raises(ValueError, match=r"enter\.0\.weight, first\.weight"):
        read_onnx(model.SerializeToString())


def test_what_is_no_file_is_refused(stack: LabelledStack) -> None:
    with pytest.raises(ValueError, match="no ONNX file"):
        read_onnx(b"not a network")
    with pytest.raises(ValueError, match="no state of a training"):
        Trainer([stack]).restore(b"not a state")


def test_the_loss_falls(stack: LabelledStack) -> None:
    trainer = Trainer([stack], held_out=[stack], seed=1, n_steps=24, crop_px=48)
    before = held_out_loss(trainer.net, [stack], crop_px=48)

    reports = list(trainer.run(every=8))

    assert [r.step for r in reports] == [8, 16, 24]
    assert reports[-1].loss < 0.7 * reports[0].loss
    assert reports[-1].held_out < before
    assert reports[-1].left_s == 0


def test_stopped_and_continued_equals_uninterrupted(stack: LabelledStack) -> None:
    whole = Trainer([stack], seed=2, n_steps=4, crop_px=48)
    list(whole.run())
    first = Trainer([stack], seed=2, n_steps=4, crop_px=48)
    list(first.run(until=2))
    second = Trainer([stack], seed=2, n_steps=4, crop_px=48)
    second.restore(first.state())

    list(second.run())

    assert second.network().weights == whole.network().weights
    assert second.losses == whole.losses


def test_another_seed_gives_other_weights(stack: LabelledStack) -> None:
    made = []
    for seed in (0, 0, 1):
        trainer = Trainer([stack], seed=seed, n_steps=1, crop_px=48)
        list(trainer.run())
        made.append(trainer.network().weights)

    assert made[0] == made[1]
    assert made[0] != made[2]


def test_the_state_of_another_training_is_refused(stack: LabelledStack) -> None:
    packed = Trainer([stack], seed=0, n_steps=4).state()

    with pytest.raises(ValueError, match=r"\[0, 4, 96, 1\]"):
        Trainer([stack], seed=0, n_steps=5).restore(packed)


def test_training_draws_nothing_from_the_global_stream(stack: LabelledStack) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()

    list(Trainer([stack], seed=5, n_steps=1).run())

    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_learn_from_is_refused(stack: LabelledStack) -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        Trainer([])
    with pytest.raises(ValueError, match="nothing to learn from"):
        fine_tune(shipped_network(), [])
    with pytest.raises(ValueError, match="use FineTuner"):
        Trainer([replace(stack, solid=False)])


def test_the_rate_makes_one_cycle() -> None:
    rates = [rate_at(share) for share in np.linspace(0, 1, 201)]

    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.04)
    assert rates[-1] == pytest.approx(1e-3)
    assert np.argmax(rates) == 40
    assert (np.diff(rates[:41]) > 0).all()
    assert (np.diff(rates[40:]) < 0).all()


def ringed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei of another kind: dark inside, only the envelope shines."""
    scene = make_scene((16, 120, 120), n_nuclei=120, photons=60.0, seed=seed)
    depth = label_stack(scene.image, scene.labels, **SIZE).distance / 255
    image = scene.image * np.where((scene.labels > 0) & (depth > 0.3), 0.25, 1.0)
    return image.astype(np.float32), scene.labels


def foreground_iou(network: NucleusNetwork, image: np.ndarray, labels: np.ndarray) -> float:
    found = segment_network(image, network=network, **SIZE).labels > 0
    return float((found & (labels > 0)).sum() / (found | (labels > 0)).sum())


def test_a_few_slices_adapt_the_network_to_other_tissue() -> None:
    image, labels = ringed(seed=1)
    other, truth = ringed(seed=2)
    slices = label_stack(image, labels, slices=[3, 5, 7, 9, 12], **SIZE)
    seen: list[Progress] = []

    tuned = fine_tune(
        shipped_network(),
        [slices],
        recipe=FineRecipe(n_steps=50, crop_px=48),
        report=seen.append,
    )

    gain = foreground_iou(tuned, other, truth) - foreground_iou(shipped_network(), other, truth)
    assert gain > 0.05
    assert [p.step for p in seen] == [25, 50]


def test_small_volumes_teach_the_distance(stack: LabelledStack) -> None:
    before = held_out_loss(read_onnx(shipped_network().weights), [stack], crop_px=48)

    tuned = fine_tune(shipped_network(), [stack], recipe=FineRecipe(n_steps=15, crop_px=48))

    assert held_out_loss(read_onnx(tuned.weights), [stack], crop_px=48) < before
