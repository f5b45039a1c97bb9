"""Which weights are a Cellpose network, and how others are named."""

import pickle
from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_state import (
    CellposeLayout,
    check_state,
    layout_of,
    wanted_shapes,
)
from tests.unit.cellpose_scene import NARROW, TINY, random_state, tiny_network, widened

FULL = CellposeLayout((32, 64, 128, 256))


def test_a_network_has_313_tensors_and_cellposes_has_6_610_430_numbers() -> None:
    shapes = wanted_shapes(FULL)

    assert len(shapes) == 313
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 6_610_430


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("diam_mean", (1,)),
        ("diam_labels", (1,)),
        ("downsample.down.res_down_0.proj.0.weight", (2,)),
        ("downsample.down.res_down_0.proj.1.weight", (32, 2, 1, 1)),
        ("downsample.down.res_down_3.conv.conv_0.2.weight", (256, 128, 3, 3)),
        ("downsample.down.res_down_3.conv.conv_3.0.running_var", (256,)),
        ("upsample.up.res_up_3.proj.1.weight", (256, 256, 1, 1)),
        ("upsample.up.res_up_0.conv.conv_0.2.weight", (32, 64, 3, 3)),
        ("upsample.up.res_up_1.conv.conv_2.conv.2.weight", (64, 64, 3, 3)),
        ("upsample.up.res_up_1.conv.conv_2.full.weight", (64, 256)),
        ("output.0.num_batches_tracked", ()),
        ("output.2.weight", (3, 32, 1, 1)),
    ],
)
def test_tensors_bear_cellposes_names(name: str, shape: tuple[int, ...]) -> None:
    assert wanted_shapes(FULL)[name] == shape


@pytest.mark.parametrize("layout", [TINY, NARROW, CellposeLayout((4, 4, 4, 4), 1)])
def test_the_layout_is_read_from_the_shapes(layout: CellposeLayout) -> None:
    assert layout_of(random_state(layout)) == layout


def test_a_whole_state_is_accepted() -> None:
    check_state(random_state())


def test_old_files_without_diameters_get_30_px() -> None:
    state = random_state()
    del state["diam_mean"], state["diam_labels"]

    network = CellposeNetwork(state)

    assert network.diam_mean_px == 30
    assert network.diam_labels_px == 30
    assert len(network.state) == 313


def refusal(state: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=r"the (weights|network)|diam_") as caught:
        CellposeNetwork(state)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_tensor_is_named() -> None:
    state = random_state()
    del state["output.2.bias"]

    assert "output.2.bias is missing" in refusal(state)


def test_a_foreign_tensor_is_named() -> None:
    assert "extra.weight is foreign" in refusal(random_state() | {"extra.weight": np.zeros(3)})


def test_a_tensor_of_another_size_is_named_with_both_sizes() -> None:
    state = random_state() | {"output.0.weight": np.ones(5, np.float32)}

    message = refusal(state)

    assert "output.0.weight is (5,) and not (2,)" in message


def test_of_many_faults_five_are_named() -> None:
    state = {name: value for name, value in random_state().items() if "res_up" not in name}

    message = refusal(state)

    assert message.count("is missing") == 5
    assert "and 159 more" in message


def test_a_network_of_cellpose_4_is_named() -> None:
    assert "Cellpose 4" in refusal({"W2": np.zeros((3, 3, 8, 8))})
    assert "Cellpose 4" in refusal({"encoder.pos_embed": np.zeros(4)})


def test_residual_connections_off_are_named() -> None:
    assert "residual" in refusal({"downsample.down.conv_down_0.conv_0.0.weight": np.zeros(2)})


def test_concatenation_on_is_named() -> None:
    state = random_state() | {
        "upsample.up.res_up_0.conv.conv_1.conv.0.weight": np.ones(2 * TINY.widths[0], np.float32)
    }

    assert "concatenation" in refusal(state)


def test_another_number_of_maps_is_named() -> None:
    state = random_state() | {"output.2.weight": np.zeros((2, 2, 1, 1), np.float32)}

    assert "gives 2 maps, wanted 3" in refusal(state)


def test_something_else_altogether_is_refused() -> None:
    assert "res_down_0.proj.1.weight is missing" in refusal({"weight": np.zeros(3)})
    assert "is missing" in refusal({})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    state = random_state()
    state["output.2.bias"] = np.array([0, value, 0], np.float32)

    assert "NaN or infinity in output.2.bias" in refusal(state)


@pytest.mark.parametrize("name", ["diam_mean", "diam_labels"])
def test_a_diameter_of_nothing_is_refused(name: str) -> None:
    assert name in refusal(random_state() | {name: np.zeros(1, np.float32)})


def test_a_network_travels_as_arrays() -> None:
    pytest.importorskip("torch", reason="a Cellpose network needs torch")
    network = tiny_network()
    tiles = np.random.default_rng(0).random((1, 2, 16, 16), np.float32)
    before = network.run(tiles)[0]

    copy = pickle.loads(pickle.dumps(network))  # noqa: S301  (our own)

    assert "modules" not in copy.__dict__
    np.testing.assert_array_equal(copy.run(tiles)[0], before)


def test_a_widened_network_computes_the_same() -> None:
    pytest.importorskip("torch", reason="a Cellpose network needs torch")
    network = tiny_network()
    wide = widened(network, CellposeLayout((3, 5, 6, 7)))
    tiles = np.random.default_rng(0).random((2, 2, 16, 24), np.float32)

    first, second = network.run(tiles)[0], wide.run(tiles)[0]

    np.testing.assert_allclose(second, first, atol=1e-5)  # more terms of zero in each sum
