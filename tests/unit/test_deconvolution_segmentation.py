"""Segmentation of a denoised stack: its noise is that of the raw one."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from clgkit import data
from clgkit.errors import DataError
from clgkit.segmentation import score_labels
from clgkit.simulate import Fish, preset
from clgkit.stages import segment_nuclei as module
from clgkit.stages.deconvolve import Deconvolve, deconvolve
from clgkit.stages.segment_nuclei import NucleiSegmented, SegmentNuclei, segment_nuclei

VOXEL_UM = (1.0, 0.4, 0.4)

pytestmark = pytest.mark.filterwarnings("ignore:no nucleus was found")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the summary of the deconvolution."""
    monkeypatch.setattr("clgkit.stages.deconvolve.summarize", lambda *_: {})
    monkeypatch.setattr("clgkit.stages.deconvolve.complaints", lambda _: ())


def segmented(
    stack: xr.DataArray, raw: xr.DataArray | None = None, **settings: Any
) -> NucleiSegmented:
    """Segment without a network: only that method looks at the noise of both stacks."""
    return segment_nuclei(stack, raw, params=SegmentNuclei(method="classical", **settings))


def volume(values: Any) -> xr.DataArray:
    return data.volume(values, voxel_um=VOXEL_UM)


def flat(gain: int = 1, shape: tuple[int, int, int] = (20, 80, 80)) -> xr.DataArray:
    photons = np.random.default_rng(0).poisson(5, shape)
    return volume((gain * photons).astype(np.uint16))


@pytest.mark.parametrize("gain", [1, 20])
def test_an_empty_field_has_no_nuclei_even_when_it_is_denoised(gain: int) -> None:
    raw = flat(gain)
    smooth = deconvolve(raw, params=Deconvolve()).deconvolved

    with pytest.warns(UserWarning, match=r"nuclei look .* where 6 um is said"):
        believed = segmented(smooth)
    measured = segmented(smooth, raw)

    assert believed.summary["n_seeds"] > 20  # why the raw stack is asked for
    assert measured.summary["n_seeds"] == 0
    assert not measured.labels.values.any()


def test_denoising_does_not_cost_nuclei() -> None:
    fish = Fish(preset("tiny", seed=4))
    settings = fish.settings
    depth = settings.shape_px[0]
    raw = data.volume(fish.structure_block(0, depth), voxel_um=settings.voxel_um)
    truth = fish.labels_block(0, depth)
    smooth = deconvolve(raw, params=Deconvolve(offset=settings.offset, iterations=60)).deconvolved
    params = {
        "diameter_um": settings.nucleus_diameter_um, "elongation": settings.axial_stretch
    }  # fmt: skip

    plain, alone, both = (
        score_labels(truth, segmented(*stacks, **params).labels.values).f1
        for stacks in ((raw,), (smooth,), (smooth, raw))
    )

    assert both >= plain
    assert both >= alone


def test_the_raw_stack_itself_changes_nothing() -> None:
    fish = Fish(preset("tiny", shape_px=(24, 64, 64), n_neurons=20))
    raw = data.volume(fish.structure_block(0, 24), voxel_um=fish.settings.voxel_um)

    one, other = segmented(raw), segmented(raw, raw)

    assert one.summary == other.summary
    xr.testing.assert_identical(one.labels, other.labels)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    raw = flat()
    bright = raw.copy(data=raw.values + 60 * (rng.random(raw.shape) > 0.999).astype(np.uint16))
    smooth = deconvolve(bright, params=Deconvolve(iterations=10)).deconvolved
    whole = segmented(smooth, bright)
    monkeypatch.setattr(module, "CORE_PX", {"z": 9, "y": 33, "x": 21})

    tiled = segmented(smooth, bright)

    assert tiled.summary == whole.summary
    xr.testing.assert_identical(tiled.labels, whole.labels)


def test_noise_that_sharpening_added_counts_too() -> None:
    raw = flat()
    noisier = raw.copy(data=raw.values * np.float32(3))

    made = segmented(noisier, raw)

    assert made.summary == segmented(noisier).summary


def test_a_raw_stack_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"raw stack has shape \(20, 80, 70\)") as caught:
        segmented(flat(), flat(shape=(20, 80, 70)))

    assert caught.value.code == "E_SHAPE"


def test_a_raw_stack_with_nan_is_refused() -> None:
    raw = flat().astype(np.float32)
    raw.values[3, 4, 5] = np.nan

    with pytest.raises(DataError, match="NaN"):
        segmented(flat(), raw)
