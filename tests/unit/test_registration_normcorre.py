"""The parity mode beside a dense, literal version of the same description."""

from __future__ import annotations

import numpy as np
import pytest

from clgkit.registration.normcorre import (
    NormcorreSettings,
    apply_like_normcorre,
    iterate_like_normcorre,
    register_like_normcorre,
)
from tests.unit.registration_scene import make_scene, rms_error_px

SMALL = NormcorreSettings(
    grid_px=48, overlap_px=16, apply_overlap_px=16, least_cell_px=16, max_shift_px=8, bin_frames=4
)


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    frames = make_scene(shape=(112, 97), n_frames=9, seed=3).movie.astype(np.float64)
    return frames - frames.min()


def pad(spectrum: np.ndarray) -> np.ndarray:
    """Double a spectrum; the highest frequency of an even axis stays negative."""
    ny, nx = spectrum.shape
    out = np.zeros((2 * ny, 2 * nx), complex)
    for k in range(ny):
        for l in range(nx):  # noqa: E741  (a frequency)
            out[k if k < (ny + 1) // 2 else k + ny, l if l < (nx + 1) // 2 else l + nx] = spectrum[
                k, l
            ]
    return out


def dense_shift(
    still: np.ndarray, moving: np.ndarray, low: np.ndarray, high: np.ndarray, up: int
) -> tuple[np.ndarray, float]:
    product = np.fft.fft2(still) * np.fft.fft2(moving).conj()
    value = np.abs(np.fft.ifft2(pad(product)))
    best, start = -1.0, (0.0, 0.0)
    for j in range(value.shape[1]):
        for i in range(value.shape[0]):
            y = (i if 2 * i < value.shape[0] else i - value.shape[0]) / 2
            x = (j if 2 * j < value.shape[1] else j - value.shape[1]) / 2
            inside = low[0] <= y <= high[0] and low[1] <= x <= high[1]
            if inside and value[i, j] > best:
                best, start = value[i, j], (y, x)
    fine = np.arange(-37, 38) / up
    ky, kx = (np.fft.fftfreq(n) for n in product.shape)
    rows = np.exp(2j * np.pi * np.outer(start[0] + fine, ky))
    columns = np.exp(2j * np.pi * np.outer(start[1] + fine, kx))
    values = rows @ product @ columns.T
    i, j = np.unravel_index(np.abs(values).argmax(), values.shape)
    return np.add(start, (fine[i], fine[j])), float(np.angle(values[i, j]))


def dense_cells(n: int, grid: int, overlap: int, least: int) -> list[tuple[int, int, int, int]]:
    starts = list(range(0, n, grid))
    ends = [s - 1 for s in starts[1:]] + [n - 1]
    if len(starts) > 1 and ends[-1] - starts[-1] + 1 < least:
        starts.pop()
        ends.pop(-2)
    return [
        (s, e + 1, max(s - overlap, 0), min(e + 1 + overlap, n))
        for s, e in zip(starts, ends, strict=True)
    ]


def dense_resize(values: np.ndarray, n: int) -> np.ndarray:
    """Resize axis 0 by the cubic kernel with a = -1/2, edges mirrored."""
    m = len(values)
    out = []
    for u in range(1, n + 1):
        x = u * m / n + 0.5 * (1 - m / n)
        total, weight = 0, 0.0
        for p in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            d = abs(x - p)
            w = (
                1.5 * d**3 - 2.5 * d**2 + 1
                if d <= 1
                else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
                if d <= 2
                else 0
            )
            q = p
            while not 1 <= q <= m:
                q = 1 - q if q < 1 else 2 * m + 1 - q
            total, weight = total + w * values[q - 1], weight + w
        out.append(total / weight)
    return np.array(out)


def dense_move(patch: np.ndarray, shift: np.ndarray, phase: float) -> np.ndarray:
    ny, nx = patch.shape
    if not shift.any():
        return patch
    ky = np.array([k if k < (ny + 1) // 2 else k - ny for k in range(ny)])
    kx = np.array([k if k < (nx + 1) // 2 else k - nx for k in range(nx)])
    ramp = np.exp(-2j * np.pi * (shift[0] * ky[:, None] / ny + shift[1] * kx / nx) + 1j * phase)
    out = np.fft.ifft2(np.fft.fft2(patch) * ramp).real
    n_y, n_x = (int(np.floor(abs(s) + 0.5)) for s in shift)
    for k in range(n_y):
        out[k if shift[0] > 0 else -1 - k] = out[n_y if shift[0] > 0 else -1 - n_y]
    for k in range(n_x):
        out[:, k if shift[1] > 0 else -1 - k] = out[:, n_x if shift[1] > 0 else -1 - n_x]
    return out


def dense_frame(
    frame: np.ndarray, template: np.ndarray, s: NormcorreSettings
) -> tuple[np.ndarray, np.ndarray]:
    limit = np.full(2, s.max_shift_px)
    rigid, _ = dense_shift(template, frame, -limit, limit, s.upsampling)
    rows, columns = (dense_cells(n, s.grid_px, s.overlap_px, s.least_cell_px) for n in frame.shape)
    shifts = np.zeros((len(rows), len(columns), 3))
    for i, (_, _, a, b) in enumerate(rows):
        for j, (_, _, c, d) in enumerate(columns):
            shifts[i, j, :2], shifts[i, j, 2] = dense_shift(
                template[a:b, c:d],
                frame[a:b, c:d],
                rigid - s.max_deviation_px,
                rigid + s.max_deviation_px,
                s.upsampling,
            )
    fine_y, fine_x = (
        dense_cells(n, s.grid_px // s.finer, s.apply_overlap_px, 0) for n in frame.shape
    )
    wide = dense_resize(shifts, len(fine_y))
    wide = np.swapaxes(dense_resize(np.swapaxes(wide, 0, 1), len(fine_x)), 0, 1)
    steps = [np.abs(np.diff(wide[..., :2], axis=axis)).max() for axis in (0, 1)]
    total, weights = np.zeros(frame.shape), np.zeros(frame.shape)
    for i, (y0, y1, a, b) in enumerate(fine_y):
        for j, (x0, x1, c, d) in enumerate(fine_x):
            moved = dense_move(frame[a:b, c:d], wide[i, j, :2], wide[i, j, 2])
            weight = np.ones(moved.shape)
            if max(steps) < 0.5:
                for k in range(y0 - a):
                    weight[k] *= np.linspace(1 / (y0 - a + 1), 1, y0 - a)[k]
                for k in range(b - y1):
                    weight[-1 - k] *= np.linspace(1 / (b - y1 + 1), 1, b - y1)[k]
                for k in range(x0 - c):
                    weight[:, k] *= np.linspace(1 / (x0 - c + 1), 1, x0 - c)[k]
                for k in range(d - x1):
                    weight[:, -1 - k] *= np.linspace(1 / (d - x1 + 1), 1, d - x1)[k]
            else:
                weight[:] = 0
                weight[y0 - a : y1 - a, x0 - c : x1 - c] = 1
            total[a:b, c:d] += moved * weight
            weights[a:b, c:d] += weight
    return shifts[..., :2], (total / weights).clip(frame.min(), frame.max())


@pytest.mark.parametrize("deviation_px", [1.0, 3.0])
def test_shifts_and_pixels_are_those_of_the_dense_version(
    movie: np.ndarray, deviation_px: float
) -> None:
    settings = SMALL._replace(max_deviation_px=deviation_px, update_template=False, iterations=1)
    template = movie.mean(axis=0)
    made = register_like_normcorre(movie[:3], settings, template=template)
    equal = 0
    for t in range(3):
        shifts, pixels = dense_frame(movie[t], template, settings)

        # One step of 1/50 px where single precision cannot tell two values apart.
        np.testing.assert_allclose(made.patch_shift[t], shifts, atol=0.021)
        if np.abs(made.patch_shift[t] - shifts).max() < 1e-6:
            np.testing.assert_allclose(made.frames[t], pixels, atol=1e-4 * np.ptp(movie))
            equal += 1
    assert equal


def test_the_template_is_the_median_of_the_bins(movie: np.ndarray) -> None:
    settings = SMALL._replace(iterations=2, bin_frames=4)  # 9 frames: bins of 5 and 4
    given = movie[0]
    made = register_like_normcorre(movie, settings, template=given)
    fixed = settings._replace(update_template=False, iterations=1)

    template, means, corrected = given, [], []
    for _ in range(2):
        corrected = []
        for part in (movie[:5], movie[5:]):
            corrected.append(register_like_normcorre(part, fixed, template=template).frames)
            # Single precision, as the means of bins are kept.
            means.append(corrected[-1].mean(axis=0, dtype=np.float64).astype(np.float32))
            template = np.median(means, axis=0)
    np.testing.assert_allclose(made.frames, np.concatenate(corrected), atol=1e-6 * np.ptp(movie))
    np.testing.assert_allclose(made.template, template, rtol=1e-6)


def test_a_fixed_template_stays(movie: np.ndarray) -> None:
    template = movie[4].astype(np.float32)
    made = register_like_normcorre(movie, SMALL._replace(update_template=False), template=template)
    np.testing.assert_array_equal(made.template, template)
    # Passes over the same data with the same template are the same.
    once = register_like_normcorre(
        movie, SMALL._replace(update_template=False, iterations=1), template=template
    )
    np.testing.assert_array_equal(made.frames, once.frames)


def test_motion_is_found_without_a_template() -> None:
    scene = make_scene(shape=(128, 128), n_frames=12)
    frames = scene.movie.astype(np.float32) - scene.movie.min()
    made = register_like_normcorre(frames, NormcorreSettings(max_shift_px=8))

    assert made.patch_shift.shape == (12, 1, 1, 2)
    # Without a band-pass, and windows, small noisy fields are pulled to 0 by their borders:
    # measured 0.25 px, where the recommended way has 0.05.
    assert rms_error_px(made.rigid, scene.displacement_px) < 0.3


@pytest.mark.parametrize("fill", ["copy", "nan", "minimum"])
def test_what_enters_is_filled_as_asked(fill: str) -> None:
    frame = np.random.default_rng(0).uniform(10, 20, (1, 64, 64))
    template = np.roll(frame[0], (3, -2), axis=(0, 1))
    settings = NormcorreSettings(
        grid_px=64,
        max_shift_px=5,
        update_template=False,
        fill=fill,  # type: ignore[arg-type]
    )
    made = register_like_normcorre(frame, settings, template=template).frames[0]
    entering = np.concatenate([made[:3].ravel(), made[:, -2:].ravel()])

    np.testing.assert_allclose(made[3:, :-2], template[3:, :-2], rtol=1e-5)
    if fill == "nan":
        assert np.isnan(entering).all()
    elif fill == "minimum":
        np.testing.assert_allclose(entering, frame.min(), rtol=1e-6)
    else:
        np.testing.assert_allclose(made[0, :-2], made[3, :-2])


class Lazy:
    """Frames that are read in slices, and how many at a time."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.shape = frames, frames.shape
        self.most = 0

    def __getitem__(self, frames: slice) -> np.ndarray:
        part = self.frames[frames]
        self.most = max(self.most, len(part))
        return part


def test_a_movie_is_read_in_slices_and_given_in_blocks(movie: np.ndarray) -> None:
    frames = np.concatenate([movie] * 5)[:43]
    settings = SMALL._replace(grid_px=128, bin_frames=22)  # bins of 22 and 21
    made = register_like_normcorre(frames, settings, template=movie[0])
    lazy = Lazy(frames)
    blocks = list(iterate_like_normcorre(lazy, settings, template=movie[0]))

    assert lazy.most == 20
    assert [block.start for block in blocks] == [0, 20, 22, 42]
    for name in ("frames", "rigid", "patch_shift", "patch_phase"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(made, name))
    np.testing.assert_array_equal(blocks[-1].template, made.template)
    assert (blocks[0].template != blocks[1].template).any()  # a bin has ended between them


def test_stored_shifts_give_the_same_pixels(movie: np.ndarray) -> None:
    made = register_like_normcorre(movie, SMALL)
    again = [
        apply_like_normcorre(movie[t : t + 4], shift, phase, SMALL)
        for t, shift, phase in (
            (t, made.patch_shift[t : t + 4], made.patch_phase[t : t + 4]) for t in (0, 4, 8)
        )
    ]
    np.testing.assert_array_equal(np.concatenate(again), made.frames)
    with pytest.raises(ValueError, match="need"):
        apply_like_normcorre(movie[:3], made.patch_shift[:4], made.patch_phase[:4], SMALL)


def test_nonsense_is_refused_before_the_first_block(movie: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected frames"):
        iterate_like_normcorre(Lazy(movie[0]), SMALL)


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_short_movies_work(movie: np.ndarray, n_frames: int) -> None:
    made = register_like_normcorre(movie[:n_frames], SMALL)

    assert made.frames.shape == (n_frames, 112, 97)
    assert np.isfinite(made.frames).all()


def test_nonsense_is_refused(movie: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected frames"):
        register_like_normcorre(movie[0], SMALL)
    with pytest.raises(ValueError, match="do not fit the template"):
        register_like_normcorre(movie, SMALL, template=movie[0, :50])
    with pytest.raises(ValueError, match="must be positive"):
        register_like_normcorre(movie, SMALL._replace(finer=0))
    with pytest.raises(ValueError, match="the fill known"):
        register_like_normcorre(movie, SMALL._replace(fill="zero"))  # type: ignore[arg-type]
