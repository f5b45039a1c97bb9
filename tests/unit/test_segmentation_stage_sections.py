"""The stage `segment_nuclei` on sections: networks of Cellpose, stitching, given labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError, MissingDependency, SettingsError
from clgkit.segmentation.cellpose import options_like
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.chains import ChainRule
from clgkit.segmentation.score import score_labels
from clgkit.segmentation.stitch import stitch_chains, stitch_like_cellpose
from clgkit.stages import _segment_sections as module
from clgkit.stages._segment_found import MEASURES
from clgkit.stages.segment_nuclei import SegmentNuclei
from clgkit.workspace import Workspace
from tests.unit.cellpose_scene import TINY, perfect_maps, random_state
from tests.unit.segmentation_stage_scene import (
    SERIAL,
    labels_of,
    same_partition,
    sections_of,
    segmented,
    stack,
    truth,
)

SHARED = Path(__file__).parents[2].parent / "shared"


class Knowing(CellposeNetwork):
    """A network that knows the nuclei: it answers with their flows, slice after slice."""

    def run(self, tiles: Any, *, device: str = "cpu") -> Any:  # noqa: ARG002
        # Tiles are slices of constant brightness 1, 2, ... in their own place; see `numbered`.
        answers = [perfect_maps(self._section(tile)) for tile in tiles]
        return np.stack(answers), np.zeros((len(tiles), 4), np.float32)

    @staticmethod
    def _section(tile: Any) -> Any:
        return np.rint(tile[0] * SCALE).astype(np.int32)


SCALE = 200.0


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> CellposeNetwork:
    """A network for stacks whose voxels are the ids of their own sections."""
    monkeypatch.setattr(module, "stack_percentiles", lambda *_, **__: np.array([[0.0, SCALE]]))
    return Knowing(random_state(TINY))


def shown() -> xr.DataArray:
    """The sections of the fish as an image that `Knowing` reads."""
    image = stack().copy(data=sections_of(truth()).astype(np.float32))
    image.coords.update(stack().coords)
    return image


CELLPOSE: dict[str, Any] = {"method": "cellpose", "section_diameter_um": 6.0}


def test_a_random_network_runs_all_the_way() -> None:
    pytest.importorskip("torch", reason="a Cellpose network needs torch")
    network = CellposeNetwork(random_state(TINY, seed=3))

    made = segmented(
        stack().isel(z=slice(0, 3)), None, network, cellprob_threshold=-6.0, **CELLPOSE
    )

    assert made.labels.dtype == np.uint32
    assert made.labels.shape == (3, 80, 80)
    assert made.seeds is None
    assert made.summary["section_diameter_px"] == pytest.approx(12.0)  # 6 um of 0.5 um pixels
    assert made.summary["n_sections"] >= made.summary["n_nuclei"]


def test_perfect_sections_become_the_nuclei(knowing: CellposeNetwork) -> None:
    made = segmented(shown(), None, knowing, flow_threshold=0.0, **CELLPOSE)

    score = score_labels(truth(), made.labels.values)
    assert score.f1 > 0.9
    probability = made.nuclei.values[:, MEASURES.index("probability")]
    assert (probability > 0.95).all()  # log-odds of 6
    assert np.isnan(made.nuclei.values[:, MEASURES.index("peak")]).all()
    assert made.summary["flagged"]["unsure"] == 0
    assert made.summary["usual_length"] > 3


def test_workers_and_blocks_change_nothing(
    knowing: CellposeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = segmented(shown(), None, knowing, **CELLPOSE)
    monkeypatch.setattr("clgkit.workspace.BLOCK_MB", 0.06)

    cut = segmented(shown(), None, knowing, workspace=Workspace(workers=3), **CELLPOSE)

    xr.testing.assert_identical(cut.labels, whole.labels)
    xr.testing.assert_identical(cut.nuclei, whole.nuclei)


def test_an_empty_slice_among_others_stays_empty(knowing: CellposeNetwork) -> None:
    image = shown()
    image.values[10] = 0

    made = segmented(image, None, knowing, bridge_iou=2.0, **CELLPOSE)

    assert not made.labels.values[10].any()
    assert made.labels.values[11].any()


@pytest.mark.parametrize("preset", ["cellpose3", "cellpose2"])
def test_the_weights_of_a_real_training_find_what_the_program_finds(preset: str) -> None:
    pytest.importorskip("torch", reason="a Cellpose network needs torch")
    weights, golden = (SHARED / "golden" / f"cellpose3{end}" for end in ("_narrow.pth", ".npz"))
    if not (weights.exists() and golden.exists()):
        pytest.skip("the golden weights and masks of Cellpose are not at hand")
    from clgkit.pipeline.models import open_model

    network = open_model(weights)
    with np.load(golden, allow_pickle=False) as archive:
        prefix = "v232_" if preset == "cellpose2" else ""
        image, wanted = archive["stack"], archive[f"{prefix}s_stitch_masks"]
    volume = data.volume(image, voxel_um=(1.0, 0.4, 0.4))

    made = segmented(
        volume, None, network, method="cellpose", preset=preset, stitch="cellpose",
        section_diameter_um=15 * 0.4,
    )  # fmt: skip

    # Only cavities within three slices are not filled, and the numbers are those of first sight.
    assert np.mean((made.labels.values > 0) != (wanted > 0)) < 0.001
    assert made.summary["n_nuclei"] == len(np.unique(wanted)) - 1


def test_cellpose_without_a_network_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"needs a network: fill in \[model\] path"):
        segmented(stack(), **CELLPOSE)


def test_a_network_of_cellpose_needs_its_method() -> None:
    network = CellposeNetwork(random_state(TINY))

    for method in ("network", "classical"):
        with pytest.raises(SettingsError, match='set method = "cellpose"'):
            segmented(stack(), None, network, method=method)


def test_torch_that_is_missing_is_named(
    knowing: CellposeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any, **__: Any) -> Any:
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(module, "segment_section", without)

    with pytest.raises(MissingDependency, match=r"pip install 'clgkit\[deep\]'"):
        segmented(shown(), None, knowing, **CELLPOSE)


def test_a_section_larger_than_the_slice_is_refused(knowing: CellposeNetwork) -> None:
    with pytest.raises(DataError, match="diameter of sections lies above 0 and within the image"):
        segmented(shown(), None, knowing, method="cellpose", section_diameter_um=100.0)


def test_nan_is_refused(knowing: CellposeNetwork) -> None:
    image = shown()
    image.values[2, 3, 4] = np.nan

    with pytest.raises(DataError, match="NaN or infinity"):
        segmented(image, None, knowing, **CELLPOSE)


def test_a_slice_too_narrow_is_refused(knowing: CellposeNetwork) -> None:
    with pytest.raises(DataError, match=r"x 12 pixels \(y, x\), wanted 16"):
        segmented(shown().isel(x=slice(0, 12)), None, knowing, **CELLPOSE)


def test_brightness_is_of_the_stack_but_for_cellpose_2() -> None:
    of = {preset: SegmentNuclei(method="cellpose", preset=preset).sections  # type: ignore[arg-type]
          for preset in ("default", "cellpose3", "cellpose2")}  # fmt: skip

    assert [numbers.whole_stack for numbers in of.values()] == [True, True, False]
    assert of["cellpose3"].options == options_like("cellpose3")
    assert of["cellpose2"].options.rule == "cellpose2"
    stitched = SegmentNuclei(method="cellpose", stitch="cellpose").sections
    assert (stitched.options.min_size_px, stitched.min_voxels) == (-1, 15)


def test_the_defaults_of_chains_are_those_of_the_rule() -> None:
    assert SegmentNuclei(method="cellpose").sections.rule == ChainRule()


def test_labels_made_elsewhere_keep_their_ids() -> None:
    own = truth() * np.uint32(1000) + (truth() > 0) * np.uint32(5)

    made = segmented(stack(), None, None, labels_of(own), method="import")

    np.testing.assert_array_equal(made.labels.values, own)
    assert made.labels.attrs == {}
    assert made.seeds is None
    assert made.summary["diameter_um"] is None
    assert made.summary["n_nuclei"] == len(np.unique(own)) - 1


@pytest.mark.parametrize("stitch", ["chain", "cellpose"])
@pytest.mark.parametrize("block_mb", [0.03, 48.0])
def test_separate_sections_are_joined_as_by_the_array_functions(
    stitch: str, block_mb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clgkit.workspace.BLOCK_MB", block_mb)
    sections = sections_of(truth())
    join: Callable[..., Any] = stitch_chains if stitch == "chain" else stitch_like_cellpose

    made = segmented(
        stack(), None, None, labels_of(sections, separate=True), method="import", stitch=stitch,
        **({"min_section_px": 0} if stitch == "cellpose" else {}),
    )  # fmt: skip

    assert same_partition(made.labels.values, join(sections))
    assert made.summary["n_sections"] == sum(len(np.unique(p)) - 1 for p in sections)


def test_a_lost_section_is_bridged() -> None:
    sections = np.zeros((24, 80, 80), np.uint32)
    for k in range(5):
        sections[4:10, 10 * k + 2 : 10 * k + 9, 10:17] = k + 1
    sections[7][sections[7] == 3] = 0
    given = labels_of(sections, separate=True)

    bridged = segmented(stack(), None, None, given, method="import")
    apart = segmented(stack(), None, None, given, method="import", bridge_iou=2.0)

    assert bridged.summary["n_bridged"] == 1
    assert apart.summary["n_bridged"] == 0
    assert np.count_nonzero(bridged.labels.values) > np.count_nonzero(apart.labels.values)


def test_specks_go_after_the_stitching_of_cellpose() -> None:
    sections = np.zeros((24, 80, 80), np.uint32)
    sections[3:9, 10:14, 10:14] = 1  # 96 voxels
    sections[3, 40:42, 40:42] = 2  # 4 voxels
    given = labels_of(sections, separate=True)

    def ids(**more: Any) -> list[int]:
        made = segmented(
            stack(), None, None, given, method="import", stitch="cellpose", **more
        )  # fmt: skip
        return [int(i) for i in np.unique(made.labels.values)]

    assert ids() == [0, 1]
    assert ids(min_section_px=0) == [0, 1, 2]


def test_empty_labels_are_no_nuclei() -> None:
    for separate, stitch in ((False, "chain"), (True, "chain"), (True, "cellpose")):
        empty = labels_of(np.zeros((24, 80, 80)), separate=separate)
        made = segmented(stack(), None, None, empty, method="import", stitch=stitch)
        assert made.summary["n_nuclei"] == 0


@pytest.mark.parametrize(
    "settings", [{"stitch": "cellpose"}, {"stitch_iou": 0.4}, {"waist": 0.8, "stitch_iou": 0.4}]
)
def test_settings_of_stitching_are_refused_with_labels_in_three_dimensions(
    settings: dict[str, Any],
) -> None:
    names = " and ".join(sorted(settings))

    with pytest.raises(SettingsError, match=f"^{names} of segment_nuclei would change nothing"):
        segmented(stack(), None, None, labels_of(truth()), method="import", **settings)
    joined = labels_of(sections_of(truth()), separate=True)
    assert segmented(stack(), None, None, joined, method="import", **settings).summary["n_nuclei"]


def test_chains_of_imported_sections_have_no_least_size() -> None:
    with pytest.raises(SettingsError, match="min_section_px belongs to method cellpose, or to"):
        SegmentNuclei.parse({"method": "import", "min_section_px": 3}, section="segment_nuclei")
    SegmentNuclei(method="import", stitch="cellpose", min_section_px=3)


def test_steps_and_flipped_looks_reach_cellpose() -> None:
    options = SegmentNuclei(method="cellpose", n_steps=40, augment=True).sections.options

    assert (options.n_steps, options.tiling.augment) == (40, True)


def test_labels_and_their_method_go_together() -> None:
    with pytest.raises(SettingsError, match=r'"import" go together: fill in \[labels\] path'):
        segmented(stack(), method="import")
    with pytest.raises(SettingsError, match='it is "network"'):
        segmented(stack(), None, None, labels_of(truth()))


def test_labels_of_another_stack_are_refused() -> None:
    with pytest.raises(DataError, match=r"stack of labels has shape \(23, 80, 80\)"):
        segmented(stack(), None, None, labels_of(truth()[1:]), method="import")


def test_an_interrupted_stitching_goes_on(knowing: CellposeNetwork, tmp_path: Path) -> None:
    from clgkit.pipeline.store import Partial

    wanted = segmented(shown(), None, knowing, **CELLPOSE)

    def stop(label: str, done: int, total: int) -> None:  # noqa: ARG001
        if label.startswith("sections") and done == 10:
            raise KeyboardInterrupt

    shelf = Partial(tmp_path, "segment_nuclei", "key")
    with pytest.raises(KeyboardInterrupt):
        segmented(
            shown(),
            None,
            knowing,
            workspace=replace(SERIAL, progress=stop, shelf=shelf),
            **CELLPOSE,
        )
    again = Partial(tmp_path, "segment_nuclei", "key")
    assert again.resumed_blocks == 10

    made = segmented(shown(), None, knowing, workspace=replace(SERIAL, shelf=again), **CELLPOSE)

    np.testing.assert_array_equal(made.labels.values, wanted.labels.values)
