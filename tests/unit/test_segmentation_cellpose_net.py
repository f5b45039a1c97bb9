"""The network in torch: names, shapes, what it depends on."""

from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_state import CellposeLayout, wanted_shapes
from tests.unit.cellpose_scene import NARROW, TINY, random_state, tiny_network

torch = pytest.importorskip("torch", reason="a Cellpose network needs torch")
net = pytest.importorskip("clgkit.segmentation.cellpose_net")

ROUNDING = 1e-5  # another order of summation


def tiles(n: int, height: int = 32, width: int = 24, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((n, 2, height, width), np.float32)


@pytest.mark.parametrize("layout", [TINY, NARROW, CellposeLayout((32, 64, 128, 256))])
def test_a_new_network_has_the_keys_and_shapes_of_a_file(layout: CellposeLayout) -> None:
    made = net.CellposeNet(layout).state_dict()

    assert {name: tuple(value.shape) for name, value in made.items()} == wanted_shapes(layout)


def test_a_network_comes_back_from_its_arrays() -> None:
    state = random_state()

    arrays = net.state_arrays(net.build(state, TINY))

    assert set(arrays) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].flags.c_contiguous


def test_arrays_of_a_network_are_copies() -> None:
    made = net.build(random_state(), TINY)
    arrays = net.state_arrays(made)
    before = arrays["output.2.bias"].copy()

    with torch.no_grad():
        made.output[2].bias += 1

    np.testing.assert_array_equal(arrays["output.2.bias"], before)


def test_maps_are_as_large_as_tiles_and_the_style_has_length_one() -> None:
    maps, style = tiny_network().run(tiles(3))

    assert maps.shape == (3, 3, 32, 24)
    assert maps.dtype == np.float32
    assert style.shape == (3, 4)
    np.testing.assert_allclose((style**2).sum(axis=1), 1, atol=1e-6)  # float32


def test_a_tile_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    network, batch = tiny_network(), tiles(4)

    together = network.run(batch)[0]
    alone = np.concatenate([network.run(tile[np.newaxis])[0] for tile in batch])

    np.testing.assert_allclose(together, alone, atol=ROUNDING)


def test_the_style_reaches_every_pixel() -> None:
    """A change in one corner is felt in the opposite one, far beyond the convolutions."""
    network, changed = tiny_network(), tiles(1, 128, 128)
    before = network.run(changed)[0]
    changed[0, 0, :8, :8] += 5

    after = network.run(changed)[0]

    assert np.abs(after - before)[..., -4:, -4:].max() > 0


def test_running_does_not_change_the_network() -> None:
    network, batch = tiny_network(), tiles(2)

    first = network.run(batch)[0]
    for _ in range(2):
        network.run(tiles(1, seed=3))

    np.testing.assert_array_equal(network.run(batch)[0], first)


def test_batchnorm_uses_what_it_has_learnt() -> None:
    state = random_state()
    shifted = dict(state)
    name = "downsample.down.res_down_0.proj.0.running_mean"
    shifted[name] = state[name] + 1

    first, second = (CellposeNetwork(each).run(tiles(1))[0] for each in (state, shifted))

    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("momentum", [0.05, 0.1])
def test_the_momentum_of_every_batchnorm_is_set(momentum: float) -> None:
    made = net.CellposeNet(TINY, momentum=momentum)

    norms = [part for part in made.modules() if isinstance(part, torch.nn.BatchNorm2d)]

    assert len(norms) == 4 * 5 + 4 * 5 + 1
    assert {part.momentum for part in norms} == {momentum}
    assert {part.eps for part in norms} == {1e-5}


def test_diameters_are_kept_but_not_learnt() -> None:
    made = net.CellposeNet(TINY, diam_mean_px=17, diam_labels_px=9)

    assert float(made.diam_mean) == 17
    assert float(made.diam_labels) == 9
    assert not made.diam_mean.requires_grad
    assert not made.diam_labels.requires_grad


def test_every_other_parameter_has_a_gradient() -> None:
    made = net.CellposeNet(TINY).train()

    made(torch.rand(2, 2, 16, 16))[0].sum().backward()

    learnt = {name for name, value in made.named_parameters() if value.grad is not None}
    assert learnt == {n for n, v in made.named_parameters() if not n.startswith("diam_")}


def test_modules_are_made_once_for_each_device() -> None:
    network = tiny_network()

    network.run(tiles(1))
    first = network.modules["cpu"]
    network.run(tiles(1))

    assert network.modules["cpu"] is first
