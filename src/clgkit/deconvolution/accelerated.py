"""Sparse step and sharpening of planes with torch; this module needs the extra ``deep``.

The formulas are those of `SparseHessian`, `richardson_lucy` and `landweber`, in float32 as there,
written as a few large operations: Fourier transforms where a processor is faster without them,
and planes in batches.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.deconvolution.blur import Blur, check_plane

try:
    import torch
except ImportError as error:
    raise ImportError(
        "Deconvolution on this device needs torch: pip install clgkit[deep]", name="torch"
    ) from error

if TYPE_CHECKING:
    from clgkit.deconvolution.deblur import Deblur
    from clgkit.deconvolution.sparse import SparseHessian

__all__ = ["deblur_planes", "sparse_hessian"]

Float32: TypeAlias = npt.NDArray[np.float32]

Z, Y, X = range(3)
FLOOR = 1e-6
TINY = float(np.finfo(np.float64).eps)
BATCH_PIXELS = 2**24  # of widened planes at one time; a pixel takes about 50 bytes


class Term(NamedTuple):
    """A second difference, and its weight."""

    first: int
    second: int
    weight: float


def sparse_hessian(scaled: npt.NDArray[np.generic], method: SparseHessian, device: str) -> Float32:
    """Return the denoised stack.

    Parameters
    ----------
    scaled : (Z, Y, X)
        As for `SparseHessian`.
    method
        Settings.
    device
        As torch names it; it needs about 70 bytes for every voxel.

    Raises
    ------
    ValueError
        If `scaled` is not 3-D or has no voxel.
    """
    whole = np.ascontiguousarray(scaled, np.float32)
    if whole.ndim != 3 or whole.size == 0:
        raise ValueError(f"The stack has shape {whole.shape}; three axes (z, y, x) are wanted.")
    f = torch.tensor(whole, device=torch.device(device))
    c = math.sqrt(method.z_continuity) if len(f) > 1 else 0.0
    terms = [Term(Y, Y, 1), Term(X, X, 1), Term(Y, X, 2)]
    if c > 0:
        terms += [Term(Z, Z, c * c), Term(Z, X, 2 * c), Term(Z, Y, 2 * c)]
    share = 1 / (method.fidelity + method.sparsity**2 + _laplacian(f, c) ** 2)
    multipliers = [torch.zeros_like(f) for _ in terms]
    own = torch.zeros_like(f)
    g = f
    for _ in range(method.iterations - 1):
        u = method.fidelity * f
        u.add_(_shrink(g, own), alpha=method.sparsity)
        for term, multiplier in zip(terms, multipliers, strict=True):
            rest = _shrink(_bend(g, term), multiplier)
            u.add_(_bend_back(rest, term), alpha=term.weight)
        g = torch.fft.irfftn(torch.fft.rfftn(u) * share, s=f.shape)
    return _fetch(g.clamp(min=0))


def deblur_planes(planes: npt.NDArray[np.generic], deblur: Deblur, device: str) -> Float32:
    """Return the planes, each deconvolved by itself.

    Parameters
    ----------
    planes : (Z, Y, X)
        As for `Deblur`.
    deblur
        Kernel, rule and number of iterations.
    device
        As torch names it.

    Raises
    ------
    ValueError
        As `Deblur` does.
    """
    for plane in planes:
        check_plane(plane, deblur.iterations)
    blur = DeviceBlur(deblur.psf, (planes.shape[1], planes.shape[2]), device)
    rule = _richardson_lucy if deblur.rule == "richardson_lucy" else _landweber
    at_once = max(1, BATCH_PIXELS // math.prod(blur.shape))
    made = np.empty(planes.shape, np.float32)
    for start in range(0, len(planes), at_once):
        part = slice(start, start + at_once)
        entered = np.ascontiguousarray(planes[part], np.float32)
        made[part] = rule(entered, blur, deblur.iterations)
    return made


class DeviceBlur:
    """A `Blur` for batches of planes on a device."""

    def __init__(
        self, psf: npt.NDArray[np.generic], plane_shape: tuple[int, int], device: str
    ) -> None:
        twin = Blur(psf, plane_shape)
        self.margin, self.shape = twin.margin, twin.shape
        self.device = torch.device(device)
        self._transfer = torch.tensor(twin._transfer, device=self.device)  # noqa: SLF001  (its twin)

    def widen(self, planes: Float32) -> torch.Tensor:
        """Return the planes on the device, with their edge pixels repeated outwards."""
        there = torch.tensor(planes, device=self.device)[:, None]
        padded = torch.nn.functional.pad(there, (self.margin,) * 4, mode="replicate")
        return padded[:, 0]

    def crop(self, widened: torch.Tensor) -> Float32:
        """Return the planes in memory, without what `widen` added."""
        m = self.margin
        return _fetch(widened[:, m : self.shape[0] - m, m : self.shape[1] - m])

    def __call__(self, widened: torch.Tensor) -> torch.Tensor:
        """Return K x."""
        made: torch.Tensor = torch.fft.irfft2(
            torch.fft.rfft2(widened) * self._transfer, s=self.shape
        )
        return made

    def adjoint(self, widened: torch.Tensor) -> torch.Tensor:
        """Return K* x."""
        spectrum = torch.fft.rfft2(widened) * self._transfer.conj()
        made: torch.Tensor = torch.fft.irfft2(spectrum, s=self.shape)
        return made


def _richardson_lucy(planes: Float32, blur: DeviceBlur, iterations: int) -> Float32:
    if iterations == 0:
        return planes
    data = blur.widen(planes)
    y, x, v = data, torch.zeros_like(data), torch.zeros_like(data)
    for i in range(iterations):
        new = y * blur.adjoint(data / blur(y).clamp(min=FLOOR))
        direction = (new - y).clamp(min=FLOOR)
        y = new if i == 0 else new + _step(v, direction) * (new - x)
        # As the original does, a number that is none becomes dark.
        y = y.nan_to_num(nan=FLOOR, posinf=math.inf).clamp(min=FLOOR)
        x, v = new, direction
    return blur.crop(y)


def _step(v: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Return one number for each plane."""
    along = (v * direction).sum((1, 2), keepdim=True, dtype=torch.float64)
    length = (v * v).sum((1, 2), keepdim=True, dtype=torch.float64) + TINY
    return (along / length).clamp(1e-6, 1).to(torch.float32)


def _landweber(planes: Float32, blur: DeviceBlur, iterations: int) -> Float32:
    if iterations <= 1:
        return planes
    data = blur.widen(planes)
    before = data
    x = data + blur.adjoint(data - blur(data))
    gamma = 1.0
    for _ in range(iterations - 1):
        new = 0.5 * math.sqrt(4 * gamma**2 + gamma**4) - gamma**2
        z = x - new * (1 - 1 / gamma) * (x - before)
        y = (z + blur.adjoint(data - blur(z))).nan_to_num(nan=FLOOR, posinf=math.inf)
        before, x, gamma = x, y.clamp(min=FLOOR), new
    return blur.crop(x)


def _laplacian(f: torch.Tensor, c: float) -> torch.Tensor:
    """Return the periodic Laplacian over the frequencies of `rfftn`."""
    ez, ey, ex = (
        4 * torch.sin(torch.pi * torch.arange(n, device=f.device) / n) ** 2 for n in f.shape
    )
    return c * ez[:, None, None] + ey[:, None] + ex[: f.shape[X] // 2 + 1]


def _shrink(q: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
    """Update the multiplier in place and return t - 2 b."""
    t = q + multiplier
    torch.clamp(t, -1, 1, out=multiplier)
    return t.sub_(multiplier, alpha=2)


def _bend(g: torch.Tensor, term: Term) -> torch.Tensor:
    """Return a second difference."""
    first = _forward(g, term.first)
    same = term.first == term.second
    return _backward(first, term.second) if same else _forward(first, term.second)


def _bend_back(rest: torch.Tensor, term: Term) -> torch.Tensor:
    """Return what the scheme takes for the adjoint of `_bend`."""
    same = term.first == term.second
    first = _forward(rest, term.first) if same else _backward(rest, term.first)
    return _backward(first, term.second)


def _forward(g: torch.Tensor, axis: int) -> torch.Tensor:
    """Return g[i + 1] - g[i], 0 at the last sample."""
    return torch.diff(g, dim=axis, append=g.narrow(axis, -1, 1))


def _backward(g: torch.Tensor, axis: int) -> torch.Tensor:
    """Return g[i] - g[i - 1], 0 at the first sample."""
    return torch.diff(g, dim=axis, prepend=g.narrow(axis, 0, 1))


def _fetch(there: torch.Tensor) -> Float32:
    return np.ascontiguousarray(there.cpu().numpy(), np.float32)
