"""The stage `segment_nuclei`: its methods, its table of nuclei, what it refuses and warns of."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError, SettingsError
from clgkit.pipeline.store import Partial
from clgkit.segmentation import score_labels
from clgkit.segmentation.network import NucleusNetwork, segment_network, shipped_network
from clgkit.stages import STAGES
from clgkit.stages import segment_nuclei as module
from clgkit.stages._segment_found import FLAGS, MEASURES, Found, summary_of, table_of
from clgkit.stages._segment_network import read_slices
from clgkit.stages.segment_nuclei import CHAIN_ONLY, USED_BY, SegmentNuclei, segment_nuclei
from clgkit.workspace import Workspace
from tests.unit.segmentation_stage_scene import (
    FITS,
    SERIAL,
    fish,
    labels_of,
    segmented,
    stack,
    truth,
)

VOXEL_UM = (1.0, 0.4, 0.4)


def column(table: xr.DataArray, name: str) -> Any:
    return table.values[:, MEASURES.index(name)]


def test_the_network_is_the_default_and_beats_the_classical_method() -> None:
    scores = {
        method: score_labels(truth(), segmented(stack(), method=method, **FITS).labels.values)
        for method in ("network", "classical")
    }

    assert SegmentNuclei().method == "network"
    assert scores["network"].f1 >= max(0.98, scores["classical"].f1)
    assert abs(scores["network"].count_error) <= abs(scores["classical"].count_error)


def test_the_stage_gives_the_nuclei_of_the_array_function() -> None:
    settings = fish().settings
    size = (5.2 * 2.2, 5.2, 5.2)
    wanted = segment_network(stack().values, voxel_um=settings.voxel_um, diameter_um=size)

    made = segmented(stack(), **FITS)

    numbers, labels = np.unique(made.labels.values, return_inverse=True)  # ids may have gaps
    np.testing.assert_array_equal(labels.reshape(wanted.labels.shape), wanted.labels)
    assert made.nuclei.coords["nucleus"].values.tolist() == numbers[1:].tolist()
    for name, known in (
        ("voxels", wanted.confidence.voxels),
        ("probability", wanted.confidence.probability),
        ("peak", wanted.confidence.peak),
    ):
        np.testing.assert_allclose(column(made.nuclei, name), known[1:], rtol=1e-12)  # sums differ


@pytest.mark.parametrize("slab_px", [1, 5, 24])
def test_slabs_and_tiles_change_nothing(slab_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = segmented(stack(), **FITS)
    monkeypatch.setattr(module, "SLAB_PX", slab_px)
    monkeypatch.setattr(module, "CORE_PX", {"z": 11, "y": 37, "x": 80})

    cut = segmented(stack(), workspace=Workspace(workers=2), **FITS)

    xr.testing.assert_identical(cut.labels, whole.labels)
    xr.testing.assert_identical(cut.nuclei, whole.nuclei)
    assert cut.summary == whole.summary


def test_little_memory_makes_thin_slabs_with_the_same_nuclei() -> None:
    counts: list[int] = []

    def watch(label: str, done: int, total: int) -> None:
        if label == "foreground, distance" and done == 0:
            counts.append(total)

    made = [
        segmented(stack(), workspace=replace(SERIAL, memory_mb=mb, progress=watch), **FITS)
        for mb in (1.0, 4000.0)
    ]

    assert counts == [24, 2]  # one slice each; 16 slices
    xr.testing.assert_identical(made[0].labels, made[1].labels)


def test_slices_thicker_than_the_networks_are_measured_at_all_its_nodes() -> None:
    thick = stack().isel(z=slice(0, None, 2)).copy()
    wanted = segment_network(
        thick.values, voxel_um=(2.0, 0.5, 0.5), diameter_um=(5.2 * 2.2, 5.2, 5.2)
    )

    made = segmented(thick, **FITS)

    np.testing.assert_array_equal(made.labels.values > 0, wanted.labels > 0)


def test_the_maps_stay_in_the_run_folder(tmp_path: Path) -> None:
    shelf = Partial(tmp_path, "segment_nuclei", "key")

    segmented(stack(), workspace=replace(SERIAL, shelf=shelf), **FITS)

    kept = {path.stem for path in (tmp_path / "segment_nuclei.partial").glob("*.zarr")}
    assert {"foreground", "distance", "seeds", "labels"} <= kept


def test_a_network_reads_the_raw_stack_and_the_classical_method_the_denoised_one() -> None:
    dark = stack() * np.float32(0)
    dark.coords.update(stack().coords)

    by_network = segmented(dark, stack(), **FITS)
    classical = segmented(dark, stack(), method="classical", **FITS)

    assert by_network.summary["n_nuclei"] == segmented(stack(), **FITS).summary["n_nuclei"]
    assert classical.summary["n_nuclei"] == 0


def test_a_network_of_ones_own_is_used() -> None:
    class Silent(NucleusNetwork):
        def run(self, channels: Any) -> Any:
            return np.full((2, *channels.shape[1:]), -9, np.float32)

    own = Silent(shipped_network().weights)

    assert segmented(stack(), None, own, **FITS).summary["n_nuclei"] == 0
    assert segmented(stack(), None, shipped_network(), **FITS).summary["n_nuclei"] > 30


def test_the_diameter_is_estimated_and_told() -> None:
    made = segmented(stack(), diameter_um="estimated", elongation=2.2)

    z, y, x = made.summary["diameter_um"]
    assert made.summary["is_estimated"]
    assert y == x == pytest.approx(5.2, rel=0.15)  # nuclei of 4 to 7 um, seen through a blur
    assert z == pytest.approx(2.2 * y)
    assert score_labels(truth(), made.labels.values).f1 > 0.9


@pytest.mark.parametrize(
    ("voxel_um", "settings", "sentence"),
    [
        ((1.0, 3.0, 3.0), {}, "2 x 2 pixels across, wanted 4 to 40"),
        ((1.0, 0.1, 0.1), {}, "60 x 60 pixels across, wanted 4 to 40"),
        ((1.0, 3.0, 3.0), {"method": "classical"}, "2 x 2 pixels across, wanted 4 to 40"),
    ],
)
def test_a_wrong_voxel_size_is_refused(
    voxel_um: tuple[float, float, float], settings: dict[str, Any], sentence: str
) -> None:
    volume = data.volume(np.zeros((8, 32, 32), np.uint16), voxel_um=voxel_um)

    with pytest.raises(DataError, match=sentence):
        segmented(volume, **settings)


def test_a_diameter_that_cannot_be_estimated_is_refused() -> None:
    blank = data.volume(np.full((8, 64, 64), 7, np.uint16), voxel_um=VOXEL_UM)

    with pytest.raises(DataError, match="cannot be estimated; give diameter_um"):
        segmented(blank, diameter_um="estimated")


@pytest.mark.parametrize("method", ["network", "classical"])
def test_a_constant_stack_has_no_nuclei_and_says_so(method: str) -> None:
    blank = data.volume(np.full((12, 40, 40), 7, np.uint16), voxel_um=VOXEL_UM)

    with pytest.warns(UserWarning, match="no nucleus was found") as told:
        made = segment_nuclei(blank, params=SegmentNuclei(method=method), workspace=SERIAL)

    assert len(told) == 1
    assert not made.labels.values.any()
    assert made.nuclei.shape == (0, len(MEASURES))
    assert made.summary["n_nuclei"] == made.summary["n_suspect"] == 0
    assert made.summary["median_volume_um3"] is None


@pytest.mark.parametrize("method", ["network", "classical"])
def test_nan_and_infinity_are_refused(method: str) -> None:
    for value in (np.nan, np.inf):
        sick = stack().astype(np.float32)
        sick.values[3, 4, 5] = value

        with pytest.raises(DataError, match="NaN or infinity"):
            segmented(sick, method=method, **FITS)


def test_pictures_and_colours_are_no_stack() -> None:
    flat = xr.DataArray(np.zeros((40, 40)), dims=("y", "x"))
    colours = xr.DataArray(np.zeros((8, 40, 40, 3)), dims=("z", "y", "x", "c"))

    for wrong, dims in ((flat, r"\(y, x\)"), (colours, r"\(z, y, x, c\)")):
        with pytest.raises(DataError, match=f"dimensions are {dims}"):
            segmented(wrong)


def test_one_slice_is_worked_on_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="the structural stack has one slice"):
        made = segment_nuclei(
            stack().isel(z=slice(12, 13)), params=SegmentNuclei(**FITS), workspace=SERIAL
        )

    assert made.summary["n_nuclei"] > 5


@pytest.mark.parametrize(("method", "step"), [("network", 4.0), ("classical", 3.0)])
def test_slices_far_apart_are_warned_of(method: Any, step: float) -> None:
    far = data.volume(stack().values[::4], voxel_um=(step, 0.4, 0.4))

    with pytest.warns(UserWarning, match=f"slices are {step:g} um apart"):
        segment_nuclei(
            far,
            params=SegmentNuclei(method=method, diameter_um=5.2, elongation=2.0),
            workspace=SERIAL,
        )


def test_close_slices_are_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment_nuclei(stack(), params=SegmentNuclei(**FITS), workspace=SERIAL)


@pytest.mark.parametrize("name", [*USED_BY, *CHAIN_ONLY])
def test_a_setting_of_another_method_is_refused_by_name(name: str) -> None:
    other = "classical" if "classical" not in USED_BY.get(name, ()) else "import"
    words = {"preset": "cellpose2", "stitch": "cellpose", "min_section_px": 3} | {
        "n_steps": 40,
        "augment": True,
    }
    value = words.get(name) or (SegmentNuclei.model_fields[name].default or 1) * 0.5

    with pytest.raises(SettingsError, match=f"{name} belongs to method .*method is '{other}'"):
        SegmentNuclei.parse({"method": other, name: value}, section="segment_nuclei")


def test_chains_have_numbers_that_the_rule_of_cellpose_has_not() -> None:
    values = {"method": "cellpose", "stitch": "cellpose", "waist": 0.5}

    with pytest.raises(SettingsError, match="waist belongs to stitch 'chain'"):
        SegmentNuclei.parse(values, section="segment_nuclei")


def test_all_settings_that_do_not_fit_are_told_at_once() -> None:
    values = {"preset": "cellpose3", "noise_factor": 4.0, "waist": 0.5}

    with pytest.raises(SettingsError) as caught:
        SegmentNuclei.parse(values, section="segment_nuclei")

    for name in values:
        assert f"{name} belongs to method" in caught.value.message


def test_settings_that_are_written_out_with_their_defaults_fit_every_method() -> None:
    defaults = SegmentNuclei().model_dump()

    for method in ("network", "classical", "cellpose", "import"):
        SegmentNuclei.parse(defaults | {"method": method}, section="segment_nuclei")


def test_every_setting_belongs_to_all_methods_or_is_in_a_group() -> None:
    everywhere = {"method", "diameter_um", "elongation"}

    assert set(SegmentNuclei.model_fields) == everywhere | set(USED_BY) | set(CHAIN_ONLY)


@pytest.mark.parametrize("method", ["classical", "cellpose"])
def test_a_model_of_another_method_is_refused(method: str) -> None:
    with pytest.raises(SettingsError, match='The model is one of method "network"'):
        segmented(stack(), None, shipped_network(), method=method, **FITS)


def test_what_is_no_model_is_refused_whatever_it_is() -> None:
    with pytest.raises(DataError, match="found bytes, wanted"):
        segmented(stack(), None, b"weights", **FITS)
    with pytest.raises(DataError, match=r"found ndarray of float64, shape \(3,\)"):
        segmented(stack(), None, np.zeros(3), **FITS)


def test_the_table_knows_places_sizes_and_borders() -> None:
    values = np.zeros((6, 10, 10), np.uint32)
    values[1:4, 2:5, 3:6] = 7  # 27 voxels inside
    values[4:6, 5:8, 5:8] = 9  # 18 voxels on the last slice
    made = table_of(Found(labels_of(values)))

    assert made.coords["nucleus"].values.tolist() == [7, 9]
    assert column(made, "voxels").tolist() == [27, 18]
    np.testing.assert_allclose(column(made, "volume_um3"), [27 * 0.25, 18 * 0.25])
    assert column(made, "on_border").tolist() == [0, 1]
    assert np.isnan(column(made, "probability")).all()
    assert column(made, "unsure").tolist() == [0, 0]
    for dim, wanted in (("z", [2.0, 4.5]), ("y", [1.5, 3.0]), ("x", [2.0, 3.0])):
        np.testing.assert_allclose(made.coords[dim].values, wanted)
        assert made.coords[dim].attrs["units"] == "um"


def test_sizes_far_from_the_median_are_flagged() -> None:
    values = np.zeros((12, 40, 40), np.uint32)
    for k in range(5):
        values[1:5, 1 + 6 * k : 5 + 6 * k, 1:5] = k + 1  # 64 voxels each
    values[1, 1, 10:17] = 6  # 7 voxels: less than 0.12 of 64
    values[1:11, 1:9, 20:25] = 7  # 400 voxels: more than 5 times 64
    found = Found(labels_of(values))

    table = table_of(found)
    summary = summary_of(found, table)

    assert np.flatnonzero(column(table, "small")).tolist() == [5]
    assert np.flatnonzero(column(table, "large")).tolist() == [6]
    assert summary["flagged"] == {"on_border": 0, "small": 1, "large": 1, "unsure": 0}
    assert summary["n_suspect"] == 2
    assert summary["density_per_1e6_um3"] == pytest.approx(7e6 / (12 * 20 * 20))
    assert set(summary["flagged"]) == set(FLAGS)


def test_low_confidence_is_flagged() -> None:
    values = np.zeros((4, 8, 20), np.uint32)
    for k in range(3):
        values[1:3, 2:6, 2 + 6 * k : 6 + 6 * k] = 10 * (k + 1)
    foreground = np.where(values == 10, 140, 240).astype(np.uint8)
    distance = np.where(values == 30, 80, 190).astype(np.uint8)
    like = labels_of(values)

    table = table_of(Found(like, None, like.copy(data=foreground), like.copy(data=distance)))

    np.testing.assert_allclose(column(table, "probability"), np.array([140, 240, 240]) / 255)
    np.testing.assert_allclose(column(table, "peak"), np.array([190, 190, 80]) / 200)
    assert column(table, "unsure").tolist() == [1, 0, 1]


def test_a_slab_at_the_end_knows_its_core() -> None:
    volume = stack()
    numbers = xr.DataArray(np.arange(20, 24), dims=("z",))

    cut = read_slices(numbers, volume, 6)

    assert (cut.first, cut.core) == (14, slice(6, 10))
    np.testing.assert_array_equal(cut.values, volume.values[14:24])


def test_the_stage_says_that_its_numbers_changed() -> None:
    assert STAGES["segment_nuclei"].version == 3
    assert list(STAGES["segment_nuclei"].inputs) == ["structure", "raw", "model", "labels"]
