"""One row of a moved image: cubic convolution at a position of its own for every pixel."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

SNAP_PX = np.float32(1e-6)  # a fraction of a pixel below this is rounding, not motion


@numba.njit(cache=True, nogil=True)
def sample_row(  # noqa: PLR0917  (a kernel takes its numbers one by one)
    image: Float32, y: int, sy: Float32, sx: Float32, fill: Float32, out: Float32
) -> None:
    """Fill ``out[x] = image(y + sy[x], x + sx[x])``, or ``fill[x]`` where that lies outside.

    Keys' kernel with a = -1/2 reads 4 x 4 pixels; a whole position reads its own row or
    column only.  Fields are smooth, so that long runs of pixels share their whole part;
    within a run all reads are neighbours and the loop is vectorised.
    """
    start, n = 0, out.size
    while start < n:
        stop = _end_of_run(sy, sx, start)
        low, high = _valid_run(image.shape, y, sy[start], sx[start])
        low = min(max(low, start), stop)
        high = min(max(high, low), stop)
        out[start:low] = fill[start:low]
        out[high:stop] = fill[high:stop]
        if high > low:
            _sample_run(image, y, sy[low:high], sx[low:high], low, out[low:high])
        start = stop


@numba.njit(cache=True, nogil=True, inline="always")
def _whole(position: np.float32) -> int:
    return int(np.floor(position + SNAP_PX))


@numba.njit(cache=True, nogil=True)
def _end_of_run(sy: Float32, sx: Float32, start: int) -> int:
    """Return where the whole parts change, or whether there is a fraction at all."""
    iy, ix = _whole(sy[start]), _whole(sx[start])
    whole_y, whole_x = sy[start] - iy < SNAP_PX, sx[start] - ix < SNAP_PX
    stop = start + 1
    while (
        stop < sy.size
        and _whole(sy[stop]) == iy
        and _whole(sx[stop]) == ix
        and (sy[stop] - iy < SNAP_PX) == whole_y
        and (sx[stop] - ix < SNAP_PX) == whole_x
    ):
        stop += 1
    return stop


@numba.njit(cache=True, nogil=True)
def _valid_run(shape: tuple[int, int], y: int, sy: np.float32, sx: np.float32) -> tuple[int, int]:
    """Return the range of x whose kernels lie inside, empty if there is none."""
    iy, ix = _whole(sy), _whole(sx)
    reach_y, reach_x = int(sy - iy >= SNAP_PX), int(sx - ix >= SNAP_PX)
    row = y + iy
    if row - reach_y < 0 or row + 2 * reach_y >= shape[0]:
        return 0, 0
    return reach_x - ix, shape[1] - 2 * reach_x - ix


@numba.njit(cache=True, nogil=True, inline="always")
def _weights(t: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    three, four, five = np.float32(3), np.float32(4), np.float32(5)
    return (
        ((two - t) * t - one) * t * half,
        ((three * t - five) * t * t + two) * half,
        ((four - three * t) * t + one) * t * half,
        (t - one) * t * t * half,
    )


@numba.njit(cache=True, nogil=True)
def _sample_run(  # noqa: PLR0917  (a kernel takes its numbers one by one)
    image: Float32, y: int, sy: Float32, sx: Float32, first: int, out: Float32
) -> None:
    """Fill a run that begins at x = `first` and lies inside the image."""
    n, row, left = out.size, y + _whole(sy[0]), first + _whole(sx[0])
    iy, ix = np.float32(_whole(sy[0])), np.float32(_whole(sx[0]))
    whole_y, whole_x = sy[0] - iy < SNAP_PX, sx[0] - ix < SNAP_PX
    if whole_y and whole_x:
        out[:] = image[row, left : left + n]
    elif whole_x:
        a, b = image[row - 1, left : left + n], image[row, left : left + n]
        c, d = image[row + 1, left : left + n], image[row + 2, left : left + n]
        for x in range(n):
            w0, w1, w2, w3 = _weights(sy[x] - iy)
            out[x] = w0 * a[x] + w1 * b[x] + w2 * c[x] + w3 * d[x]
    elif whole_y:
        b = image[row, left - 1 : left + n + 2]
        for x in range(n):
            v0, v1, v2, v3 = _weights(sx[x] - ix)
            out[x] = v0 * b[x] + v1 * b[x + 1] + v2 * b[x + 2] + v3 * b[x + 3]
    else:
        a, b = image[row - 1, left - 1 : left + n + 2], image[row, left - 1 : left + n + 2]
        c, d = image[row + 1, left - 1 : left + n + 2], image[row + 2, left - 1 : left + n + 2]
        for x in range(n):
            w0, w1, w2, w3 = _weights(sy[x] - iy)
            v0, v1, v2, v3 = _weights(sx[x] - ix)
            g0 = w0 * a[x] + w1 * b[x] + w2 * c[x] + w3 * d[x]
            g1 = w0 * a[x + 1] + w1 * b[x + 1] + w2 * c[x + 1] + w3 * d[x + 1]
            g2 = w0 * a[x + 2] + w1 * b[x + 2] + w2 * c[x + 2] + w3 * d[x + 2]
            g3 = w0 * a[x + 3] + w1 * b[x + 3] + w2 * c[x + 3] + w3 * d[x + 3]
            out[x] = v0 * g0 + v1 * g1 + v2 * g2 + v3 * g3
