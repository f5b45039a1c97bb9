"""Contrast on a device of torch: here the processor, which has the same operations."""

import subprocess
import sys

import numpy as np
import pytest

from clgkit.contrast import normalize_contrast, normalize_volume

# Both sum in float64, in another order, and round to float32 values up to 8.
TOLERANCE = 1e-6
TORCH_ON_CPU = "cpu:0"
LIMITS = (100.0, 700.0)


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="the extra `deep` is not installed")


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", "i2", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("radius_px", [1, 10, 40])
@pytest.mark.parametrize("limits", [None, LIMITS])
def test_planes_are_those_of_the_processor(
    dtype: str, radius_px: int, limits: tuple[float, float] | None
) -> None:
    plane = np.random.default_rng(1).gamma(2, 150, (37, 52)).clip(0, 120).astype(dtype)
    plane[3, 4] = not plane[3, 4]

    ours = normalize_contrast(plane, radius_px=radius_px, limits=limits, device=TORCH_ON_CPU)

    wanted = normalize_contrast(plane, radius_px=radius_px, limits=limits)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, atol=TOLERANCE, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "ends"), [("u2", (0, 65535)), ("i2", (-32768, 32767))])
def test_integers_do_not_wrap_on_their_way(dtype: str, ends: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).integers(*ends, (40, 41), endpoint=True).astype(dtype)
    plane[0, :2] = ends

    np.testing.assert_allclose(
        normalize_contrast(plane, device=TORCH_ON_CPU),
        normalize_contrast(plane),
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("shape", [(9, 21, 24), (1, 5, 6), (3, 1, 2)])
@pytest.mark.parametrize("radius_px", [(0, 3, 3), (1, 2, 5), (12, 9, 30)])
def test_volumes_are_those_of_the_processor(
    shape: tuple[int, int, int], radius_px: tuple[int, int, int]
) -> None:
    stack = np.random.default_rng(3).gamma(2, 150, shape).astype(np.uint16)

    ours, wanted = (
        normalize_volume(stack, radius_px=radius_px, limits=LIMITS, noise_sd=9.0, device=device)
        for device in (TORCH_ON_CPU, "cpu")
    )

    np.testing.assert_allclose(ours, wanted, atol=TOLERANCE, rtol=1e-6)


def test_a_corrupted_pixel_is_felt_in_its_window_only() -> None:
    plane = np.random.default_rng(4).normal(400, 60, (60, 70))
    spoiled = plane.copy()
    spoiled[30, 30] = 1e200

    one, other = (
        normalize_contrast(p, limits=LIMITS, device=TORCH_ON_CPU) for p in (plane, spoiled)
    )

    changed = np.abs(other - one)
    changed[20:41, 20:41] = 0
    assert np.isfinite(other).all()
    assert changed.max() < 1e-5  # what the running sums keep of it


def test_flat_planes_and_equal_limits_are_zero() -> None:
    assert not normalize_contrast(np.full((9, 9), 3.0), device=TORCH_ON_CPU).any()
    assert not normalize_contrast(np.eye(9), limits=(1, 1), device=TORCH_ON_CPU).any()


def test_a_device_is_not_asked_for_the_processors_work() -> None:
    code = "import sys, clgkit.contrast, clgkit.deconvolution; print('torch' in sys.modules)"

    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert finished.stdout.strip() == "False"


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "clgkit.contrast.accelerated", raising=False)
    monkeypatch.delattr("clgkit.contrast.accelerated", raising=False)

    with pytest.raises(ImportError, match=r"pip install clgkit\[deep\]"):
        normalize_contrast(np.eye(5), device="cuda")
    with pytest.raises(ImportError, match=r"pip install clgkit\[deep\]"):
        normalize_volume(np.eye(5)[None], radius_px=(0, 1, 1), device="cuda")
