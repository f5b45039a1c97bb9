"""Patches that are moved together, beside patches that are moved one by one."""

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.registration.normcorre_patches import SEAM_PX, Patches, apply_patches, cut_field
from tests.unit.test_registration_normcorre import dense_resize

Image = npt.NDArray[np.float64]
FILLS = ["copy", "nan", "minimum"]
FIELDS = [  # shape, grid, overlap, patches that were compared
    ((112, 97), [12, 12], 16, (3, 2)),  # the last cells are short
    ((31, 27), [9, 7], 5, (2, 2)),
    ((64, 64), [64, 64], 8, (1, 1)),  # one patch, even
    ((51, 47), [64, 64], 0, (1, 1)),  # one patch, odd
    ((50, 60), [7, 60], 20, (3, 1)),  # patches that are clipped on both sides
]


def one_by_one(
    frame: Image, shifts: Image, phases: Image, fine: Patches, fill: str
) -> tuple[Image, bool]:
    """Move every patch by a full transform; also whether patches are blended."""
    steps = [np.abs(np.diff(shifts, axis=axis)).max(initial=0) for axis in (0, 1)]
    blend = max(steps) < SEAM_PX
    total, weights = np.zeros(frame.shape), np.zeros(frame.shape)
    for i, (cell, patch) in enumerate(zip(fine.cells, fine.patches, strict=True)):
        at = divmod(i, fine.shape[1])
        moved = filled(
            moved_alone(frame[patch], shifts[at], phases[at]), frame[patch], shifts[at], fill
        )
        ramps = []
        for c, p in zip(cell, patch, strict=True):
            before, after = c.start - p.start, p.stop - c.stop
            ramp = np.zeros(p.stop - p.start)
            ramp[before : len(ramp) - after] = 1
            if blend:
                ramp[:before] = np.linspace(1 / (before + 1), 1, before)
                ramp[len(ramp) - after :] = np.linspace(1 / (after + 1), 1, after)[::-1]
            ramps.append(ramp)
        weight = np.where(np.isnan(moved), 0, np.outer(*ramps))
        total[patch] += np.nan_to_num(moved) * weight
        weights[patch] += weight
    with np.errstate(invalid="ignore"):
        return (total / weights).clip(frame.min(), frame.max()), blend


def moved_alone(patch: Image, shift: Image, phase: float) -> Image:
    if not shift.any():
        return patch.copy()
    y, x = (np.fft.fftfreq(n) for n in patch.shape)
    ramp = np.exp(-2j * np.pi * np.add.outer(shift[0] * y, shift[1] * x) + 1j * phase)
    return np.asarray(np.fft.ifft2(np.fft.fft2(patch) * ramp).real)


def filled(moved: Image, patch: Image, shift: Image, fill: str) -> Image:
    for axis in (0, 1):
        n = min(int(abs(shift[axis]) + 0.5), moved.shape[axis] - 1)
        lines = np.moveaxis(moved, axis, 0)
        for k in range(n):
            entering, beside = (k, n) if shift[axis] > 0 else (-1 - k, -1 - n)
            lines[entering] = {"copy": lines[beside], "nan": np.nan, "minimum": patch.min()}[fill]
    return moved


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("spread_px", [0.05, 0.6, 3.0])
def test_patches_moved_together_are_those_moved_one_by_one(
    field: tuple[tuple[int, int], list[int], int, tuple[int, int]], fill: str, spread_px: float
) -> None:
    shape, grid, overlap, n = field
    rng = np.random.default_rng(0)
    frame = rng.normal(100, 20, shape) ** 2
    shift = rng.normal(0, spread_px, (*n, 2)) + rng.normal(0, 3, 2)
    phase = rng.normal(0, 0.3, n)
    fine = cut_field(shape, grid, overlap, 0)

    made = apply_patches(frame, shift, phase, fine, fill)

    both = np.concatenate([shift, phase[..., None]], axis=-1)
    wide = np.swapaxes(dense_resize(both, fine.shape[0]), 0, 1)
    wide = np.swapaxes(dense_resize(wide, fine.shape[1]), 0, 1)
    wanted, blend = one_by_one(frame, wide[..., :2], wide[..., 2], fine, fill)
    assert blend or spread_px > 0.1
    assert not blend or spread_px < 1 or n == (1, 1)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))
    # Single precision, of the range of the frame.
    np.testing.assert_allclose(made, wanted, atol=1e-6 * np.ptp(frame))


def test_a_patch_without_a_shift_has_no_phase() -> None:
    frame = np.random.default_rng(1).uniform(10, 20, (32, 64))
    fine = cut_field(frame.shape, [32, 32], 0, 0)
    shift = np.array([[[0, 0], [2.0, 0]]])

    made = apply_patches(frame, shift, np.array([[3.0, 0.0]]), fine, "copy")

    np.testing.assert_allclose(made[:, :32], frame[:, :32], rtol=1e-6)
    np.testing.assert_allclose(made[2:, 32:], frame[:-2, 32:], rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 60000.0])
def test_a_level_costs_no_precision(level: float) -> None:
    frame = np.random.default_rng(2).uniform(0, 30, (96, 96))
    fine = cut_field(frame.shape, [24, 24], 16, 0)
    shift, phase = np.full((2, 2, 2), 1.37), np.zeros((2, 2))

    plain = apply_patches(frame, shift, phase, fine, "copy")
    lifted = apply_patches(frame + level, shift, phase, fine, "copy")

    # Single precision of the values without it.
    np.testing.assert_allclose(lifted - level, plain, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "side", "overlap"), [(512, 32, 32), (97, 12, 16), (40, 40, 3), (30, 7, 0)]
)
def test_runs_hold_every_patch_once_and_their_weights_add_up(
    n: int, side: int, overlap: int
) -> None:
    fine = cut_field((n, n), [side, side], overlap, 0)
    for runs in fine.runs:
        numbers = [i for run in runs for i in range(run.numbers.start, run.numbers.stop)]
        assert numbers == list(range(fine.shape[0]))
        ramps, steps = np.zeros(n), np.zeros(n)
        for run in runs:
            assert np.arange(n)[run.windows].tolist() == run.starts.tolist()
            for start, ramp, step in zip(run.starts, run.ramps, run.steps, strict=True):
                ramps[start : start + run.length] += ramp
                steps[start : start + run.length] += step
        np.testing.assert_allclose(ramps, 1, atol=1e-6)
        np.testing.assert_array_equal(steps, 1)
    assert max(run.numbers.stop - run.numbers.start for run in fine.runs[0]) <= 4
