"""Masks of Cellpose 3.1.1.3 and 2.3.2, with the same weights on the same slices.

Source: `cellpose3.npz` and `cellpose3_narrow.pth`, made by running both programs unchanged on a
processor (float32); see the README of the golden outputs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.io.cellpose import read_cellpose_weights
from clgkit.segmentation.cellpose import (
    Section,
    finish_stack,
    options_like,
    predict_maps,
    section_channels,
    section_scale,
    segment_section,
)
from clgkit.segmentation.cellpose_flows import flow_errors, flows_of_masks, mask_diameter_px
from clgkit.segmentation.cellpose_masks import fill_and_drop_small
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_tiles import (
    Tiling,
    image_percentiles,
    resize_bilinear,
    stack_percentiles,
    taper,
)
from clgkit.segmentation.cellpose_volume import masks_of_volume, predict_volume
from clgkit.segmentation.stitch import stitch_like_cellpose
from tests.unit.cellpose_scene import NARROW

pytest.importorskip("torch", reason="a Cellpose network needs torch")

Arrays = dict[str, npt.NDArray[Any]]

NETWORK = 1e-5  # another order of summation in the convolutions
FLOWS = 2e-4  # the same, after resizing has amplified rounding in the network
HALF = 5e-3  # stored as float16
RESIZED = 1e-6  # OpenCV rounds weights otherwise
ROUNDING = 1e-6  # float32 outputs of float64 sums
DIFFERING = 0.005  # share of pixels that another platform may give to other masks

CASES: dict[str, tuple[float | None, dict[str, Any]]] = {
    "d15": (15, {}),
    "dlabels": (None, {}),
    "d12": (12, {}),
    "d8": (8, {}),
    "d20_noresample": (20, {"resample": False}),
    "augment": (15, {"tiling": Tiling(augment=True)}),
    "b112": (15, {"tiling": Tiling(112, 0.3)}),
    "loose": (15, {"cellprob_threshold": -2, "flow_threshold": 0.8, "min_size_px": 40}),
    "noqc": (15, {"flow_threshold": 0, "min_size_px": -1}),
}
PRESETS = {"cellpose3": "", "cellpose2": "v232_"}


@pytest.fixture(scope="module")
def network(shared: Path) -> CellposeNetwork:
    path = shared / "golden" / "cellpose3_narrow.pth"
    if not path.exists():
        pytest.skip("the golden weights (cellpose3_narrow.pth) are not at hand")
    return CellposeNetwork(read_cellpose_weights(path).state)


@pytest.fixture(scope="module")
def made(shared: Path) -> Arrays:
    path = shared / "golden" / "cellpose3.npz"
    if not path.exists():
        pytest.skip("the golden outputs (cellpose3.npz) are not at hand")
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def assert_same_masks(ours: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> None:
    """Equal, ids included; on a platform that rounds otherwise nearly so."""
    if not np.array_equal(ours, wanted):
        assert np.mean((ours > 0) != (wanted > 0)) <= DIFFERING
        assert abs(int(ours.max()) - int(wanted.max())) <= DIFFERING * wanted.max()


def sections(
    stack: npt.NDArray[Any], network: CellposeNetwork, preset: str, limits: Any
) -> list[Section]:
    options = options_like(preset, min_size_px=-1)  # type: ignore[arg-type]
    return [
        segment_section(part, network, diameter_px=15, limits=limits, options=options)
        for part in stack
    ]


def test_the_weights_are_of_a_narrow_network(network: CellposeNetwork) -> None:
    assert network.layout == NARROW
    assert network.diam_mean_px == 15
    assert network.diam_labels_px == pytest.approx(10.2134, abs=1e-4)
    assert len(network.state) == 313


def test_the_network_answers_as_theirs(network: CellposeNetwork, made: Arrays) -> None:
    maps, style = network.run(made["net_in"])

    np.testing.assert_allclose(maps, made["net_out"], atol=NETWORK, rtol=0)
    np.testing.assert_allclose(style, made["net_style"], atol=NETWORK, rtol=0)


def test_percentiles_of_an_image_and_of_a_stack_are_theirs(made: Arrays) -> None:
    stack = made["stack"]
    streamed = stack_percentiles((part[np.newaxis] for part in stack), stack.shape)

    np.testing.assert_array_equal(
        image_percentiles(made["image"][np.newaxis])[0], made["a_percentiles"]
    )
    np.testing.assert_array_equal(image_percentiles(stack[np.newaxis])[0], made["s_percentiles"])
    np.testing.assert_array_equal(streamed[0], made["s_percentiles"])


@pytest.mark.parametrize("name", ["46x66", "29x42"])
def test_resizing_is_theirs(made: Arrays, name: str) -> None:
    wanted = made[f"resize_{name}"]

    ours = resize_bilinear(made["resize_in"], wanted.shape)

    np.testing.assert_allclose(ours, wanted, atol=RESIZED, rtol=0)


def test_blending_weights_are_theirs(made: Arrays) -> None:
    np.testing.assert_allclose(taper((48, 64)), made["taper_48x64"], atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(taper((256, 240))[128], made["taper_256_row"], atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("name", ["d15", "d12", "d20_noresample"])
def test_flows_and_log_odds_are_theirs(network: CellposeNetwork, made: Arrays, name: str) -> None:
    diameter, changes = CASES[name]
    channels = section_channels(made["image"], network)
    scale = section_scale(network, diameter, channels.shape[1:])
    tolerance = HALF if name.endswith("noresample") else FLOWS

    maps = predict_maps(
        channels, network, scale=scale, options=options_like("cellpose3", **changes)
    )

    np.testing.assert_allclose(maps[:2], made[f"a_{name}_dP"], atol=tolerance, rtol=0)
    np.testing.assert_allclose(maps[2], made[f"a_{name}_prob"], atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("preset", "name"),
    # Cellpose 2 has no setting for the size of tiles
    [(p, name) for p in PRESETS for name in CASES if (p, name) != ("cellpose2", "b112")],
)
def test_masks_are_theirs(network: CellposeNetwork, made: Arrays, preset: Any, name: str) -> None:
    diameter, changes = CASES[name]
    options = options_like(preset, **changes)

    found = segment_section(made["image"], network, diameter_px=diameter, options=options)

    assert found.labels.dtype == np.uint32
    assert_same_masks(found.labels, made[f"{PRESETS[preset]}a_{name}_masks"])


def test_the_default_differs_from_cellpose_3_only_where_ranks_are_taken_for_ids(
    network: CellposeNetwork, made: Arrays
) -> None:
    diameter, changes = CASES["loose"]

    ours = segment_section(
        made["image"], network, diameter_px=diameter, options=options_like("default", **changes)
    ).labels

    theirs = made["a_loose_masks"]
    assert set(np.unique(ours[theirs > 0])) >= set(range(1, 10))
    assert ours.max() > theirs.max()  # nuclei that the fault removes are kept
    assert ((ours > 0) | (theirs == 0)).mean() > 1 - DIFFERING


def test_slices_normalized_one_by_one_give_their_masks(
    network: CellposeNetwork, made: Arrays
) -> None:
    options = options_like("cellpose3")

    found = [
        segment_section(part, network, diameter_px=15, options=options).labels
        for part in made["stack"]
    ]

    assert_same_masks(np.stack(found), made["s_plane_masks"])


def test_a_stitched_stack_of_cellpose_3_is_normalized_as_a_whole(
    network: CellposeNetwork, made: Arrays
) -> None:
    stack = made["stack"]
    limits = stack_percentiles((part[np.newaxis] for part in stack), stack.shape)

    found = sections(stack, network, "cellpose3", limits)
    stitched = stitch_like_cellpose([part.labels for part in found], threshold=0.25)
    labels = finish_stack(stitched, options=options_like("cellpose3"))

    flows = np.stack([part.flows for part in found], axis=1)
    log_odds = np.stack([part.log_odds for part in found])
    np.testing.assert_allclose(flows, made["s_stitch_dP"], atol=HALF, rtol=0)
    np.testing.assert_allclose(log_odds, made["s_stitch_prob"], atol=HALF, rtol=0)
    assert_same_masks(labels, made["s_stitch_masks"])


def test_a_stitched_stack_of_cellpose_2_is_normalized_slice_by_slice(
    network: CellposeNetwork, made: Arrays
) -> None:
    found = sections(made["stack"], network, "cellpose2", None)
    stitched = stitch_like_cellpose([part.labels for part in found], threshold=0.25)
    labels = finish_stack(stitched, options=options_like("cellpose2"))

    assert_same_masks(labels, made["v232_s_stitch_masks"])


def test_nuclei_found_in_3d_are_theirs(network: CellposeNetwork, made: Arrays) -> None:
    options = options_like("cellpose3")
    settings: dict[str, Any] = {"diameter_px": 15, "anisotropy": 2, "options": options}

    maps = predict_volume(made["stack3d"], network, **settings)
    labels = masks_of_volume(maps, scale=np.float32(1), options=options)

    np.testing.assert_allclose(maps[:3], made["s3_do3d_dP"], atol=HALF, rtol=0)
    # sums of three directions reach 18, where float16 has steps of 1/64
    np.testing.assert_allclose(maps[3], made["s3_do3d_prob"], atol=1 / 64, rtol=0)
    assert_same_masks(labels, made["s3_do3d_masks"])


@pytest.mark.parametrize(("rule", "prefix"), PRESETS.items())
def test_flows_of_masks_are_theirs(made: Arrays, rule: Any, prefix: str) -> None:
    flows = flows_of_masks(made["labels"], rule=rule)

    np.testing.assert_allclose(flows, made[f"{prefix}labels_flows"], atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(("rule", "prefix"), PRESETS.items())
def test_errors_of_flows_are_theirs(made: Arrays, rule: Any, prefix: str) -> None:
    masks = made[f"{prefix}a_noqc_masks"].astype(np.int32)

    errors = flow_errors(masks, made["a_d15_dP"], rule=rule)

    # sums of the same numbers
    np.testing.assert_allclose(errors, made[f"{prefix}a_noqc_flow_error"], atol=1e-12, rtol=0)


def test_the_diameter_of_masks_is_theirs(made: Arrays) -> None:
    assert mask_diameter_px(made["labels"]) == pytest.approx(float(made["diameter_of_labels"]))


def test_the_rank_fault_is_repeated_in_the_preset_alone(made: Arrays) -> None:
    labels = made["rank_in"]

    theirs = fill_and_drop_small(labels, min_size_px=15, repeat_rank_bug=True)
    ours = fill_and_drop_small(labels, min_size_px=15)

    np.testing.assert_array_equal(theirs, made["rank_out_min15"])
    assert theirs.max() == 2
    assert ours.max() == 3
    assert sorted(np.bincount(ours.ravel())[1:]) == [64, 64, 64]
