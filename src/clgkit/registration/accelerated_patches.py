"""How patches of a batch of frames lie on those of a template: `matching` on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from clgkit.registration import matching
from clgkit.registration.accelerated import Tensor, download, torch, upload
from clgkit.registration.accelerated_sampling import sample

if TYPE_CHECKING:
    from clgkit.registration.matching import PatchTemplate

TINY = float(np.finfo(np.float64).tiny)
UNKNOWN_PX2 = 1e6  # variance of a patch that shows nothing


class DeviceCoarse(NamedTuple):
    """A :class:`~clgkit.registration.matching.Coarse` on a device, for lags of two pixels."""

    image: Tensor
    rows: Tensor
    columns: Tensor
    smoothing: tuple[Tensor, Tensor]
    """Matrices (y, x) with which patches listen to their neighbours."""
    reach: int


class DevicePatches(NamedTuple):
    """A :class:`~clgkit.registration.matching.PatchTemplate` on a device."""

    images: Tensor
    """(3, Y, X) template and its slopes along y and x."""
    rows: Tensor
    """(ny, Y) windows."""
    columns: Tensor
    """(nx, X) windows."""
    energy: Tensor
    drift: Tensor
    inverse: Tensor
    """(ny, nx, 2, 2) of the curvature."""
    noise: Tensor
    """(ny, nx, 2) variance of a step, over that of the residual."""
    size: Tensor
    coarse: DeviceCoarse


class Fits(NamedTuple):
    """One Newton step of every patch of every frame; a batch of `matching.Fit`."""

    step_px: Tensor
    """(B, ny, nx, 2) float64."""
    variance_px2: Tensor
    """(B, ny, nx, 2) float64."""
    peak: Tensor
    """(B, ny, nx) float64."""
    gain: Tensor
    """(B,) float64."""


def upload_patches(template: PatchTemplate, device: str) -> DevicePatches:
    """Bring what :func:`clgkit.registration.matching.prepare_patches` made to a device."""
    inverse = matching._invert(template.curvature)  # noqa: SLF001  (its twin)
    noise = (inverse**2 @ template.noise_gain[..., np.newaxis])[..., 0]
    smoothing_y, smoothing_x = (
        ndimage.gaussian_filter1d(np.eye(n), matching.SEARCH_SMOOTHING, axis=0, mode="nearest")
        for n in template.grid.shape
    )
    coarse = DeviceCoarse(
        image=upload(template.coarse.image, device),
        rows=upload(template.coarse.rows, device),
        columns=upload(template.coarse.columns, device),
        smoothing=(upload(smoothing_y, device), upload(smoothing_x, device)),
        reach=template.coarse.reach,
    )
    return DevicePatches(
        images=upload(np.stack([template.image, template.slope_y, template.slope_x]), device),
        rows=upload(template.grid.y.window, device),
        columns=upload(template.grid.x.window, device),
        energy=upload(np.maximum(template.energy, TINY), device),
        drift=upload(template.drift, device),
        inverse=upload(inverse, device),
        noise=upload(noise, device),
        size=upload(template.size, device),
        coarse=coarse,
    )


def search_patches(frames: Tensor, template: DevicePatches, rigid_px: Tensor) -> Tensor:
    """Find roughly how far each patch is from the rigid shift of its frame.

    Parameters
    ----------
    frames : (B, Y, X) float32
        Filtered.
    template
        From :func:`upload_patches`.
    rigid_px : (B, 2) float64
        Shift (y, x) of each frame.

    Returns
    -------
    (B, ny, nx, 2) float64
        By the formulas of :func:`clgkit.registration.matching.search_patches`; the maximum of
        the small maps of lags is found on the CPU.
    """
    coarse = template.coarse
    whole = rigid_px.round().long()
    if min(coarse.image.shape) < 2 or not coarse.reach:
        return rigid_px[:, None, None].expand(-1, *template.size.shape, 2)
    height, width = coarse.image.shape
    reach, n_lags = coarse.reach, 2 * coarse.reach + 1
    size = (height + 2 * reach, width + 2 * reach)
    moved = _halve(frames, -whole - 2 * reach, size)
    cross, energy = (
        torch.stack([sums(moved[:, a : a + height], coarse) for a in range(n_lags)], 3)
        for sums in (_lagged_products, _lagged_squares)
    )
    floor = (1e-6 * energy.amax((1, 2, 3, 4), keepdim=True)).clamp(min=TINY)
    score = cross / torch.maximum(energy, floor).sqrt()
    smooth_y, smooth_x = coarse.smoothing
    score = torch.einsum("ij,kl,bjlmn->bikmn", smooth_y, smooth_x, score)
    lags = np.asarray(download(score), dtype=np.float64)
    lag = matching._vertex(lags) - reach  # noqa: SLF001  (its twin)
    return whole[:, None, None] - 2 * upload(lag, frames.device)


def fit_patches(
    frames: Tensor, template: DevicePatches, sampling_px: tuple[Tensor, Tensor], gain: Tensor
) -> Fits:
    """Read frames through fields and tell how far each patch still is from the template.

    Parameters
    ----------
    frames : (B, Y, X) float32
        Filtered.
    template
        From :func:`upload_patches`.
    sampling_px
        Two (B, Y, X) float32: where to read, relative to each pixel.
    gain : (B,)
        Brightness of the frames in units of the template.

    Returns
    -------
    Fits
        By the formulas of :func:`clgkit.registration.matching.fit_patches`.
    """
    image = template.images[0]
    moved, inside = sample(frames, *sampling_px)
    moved = torch.where(inside, moved, gain.float()[:, None, None] * image)
    factors = (*template.images, moved)
    sums = [(template.rows @ (moved * f) @ template.columns.T).double() for f in factors]
    fitted, slope_y, slope_x, square = sums
    energy = template.energy
    brightest = (square.sum((1, 2)) / energy.sum()).sqrt()
    least = (matching.LEAST_PEAK * brightest).clamp(min=float(np.finfo(np.float32).tiny))
    common = torch.maximum(fitted.sum((1, 2)) / energy.sum(), least)
    a = torch.maximum(fitted / energy, 0.25 * common[:, None, None])
    pull = torch.stack([slope_y, slope_x], -1) / a[..., None] - template.drift
    step = (template.inverse @ pull[..., None])[..., 0]
    residual = (square - 2 * a * fitted + a**2 * energy).clamp(min=0) / template.size / a**2
    norm = (square * energy).clamp(min=TINY).sqrt()
    longest = matching.LONGEST_STEP_PX
    return Fits(
        step_px=step.clamp(-longest, longest),
        variance_px2=template.noise * residual[..., None],
        peak=(fitted / norm).clamp(-1, 1),
        gain=common,
    )


def most_likely_fields(
    found: Tensor, noise_variance: Tensor, likeness: Tensor, *, least_px: float = 0.02
) -> Tensor:
    """Weigh what patches show against how smooth fields are.

    Parameters
    ----------
    found : (B, n, 2) float64
        Deviation of each patch from the rigid shift, as measured, pixels.
    noise_variance : (B, n, 2) float64
        Of the error of each, px².
    likeness : (n, n) float64
        From :func:`clgkit.registration.field.covariance`.
    least_px
        Standard deviation of the field that is always allowed for.

    Returns
    -------
    (B, n, 2) float64
        By the formulas of :func:`clgkit.registration.field.most_likely_field`.
    """
    noise = noise_variance.clamp(max=UNKNOWN_PX2)
    variance = found.square().flatten(1).quantile(0.5, 1).clamp(min=least_px**2)
    for _ in range(4):
        weight = (variance[:, None, None] + noise) ** -2
        excess = (weight * (found**2 - noise)).sum((1, 2)) / weight.sum((1, 2))
        variance = excess.clamp(min=least_px**2)
    prior = (variance[:, None, None] * likeness)[:, None]
    total = prior + torch.diag_embed(noise.mT)
    weights = torch.linalg.solve(total, found.mT[..., None])
    return torch.matmul(prior, weights)[..., 0].mT


def _halve(frames: Tensor, start: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return means of 2 x 2 pixels, from a start (y, x) of each frame on; 0 outside it."""
    (y, inside_y), (x, inside_x) = (
        _pairs(start[:, axis], shape[axis], frames.shape[1 + axis]) for axis in (0, 1)
    )
    number = torch.arange(len(frames), device=frames.device)[:, None, None]
    upper, lower = (
        frames[number, y[:, :, None] + k, x[:, None, :]]
        + frames[number, y[:, :, None] + k, x[:, None, :] + 1]
        for k in (0, 1)
    )
    return 0.25 * (upper + lower) * (inside_y[:, :, None] & inside_x[:, None, :])


def _pairs(start: Tensor, n_pairs: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the first index of each pair, (B, n_pairs), and whether both lie inside."""
    first = start[:, None] + 2 * torch.arange(n_pairs, device=start.device)
    return first.clamp(0, length - 2), (first >= 0) & (first + 1 < length)


def _lagged_products(moved: Tensor, coarse: DeviceCoarse) -> Tensor:
    """Sum, for every lag along x, window times moved times image; (B, ny, nx, n_lags)."""
    width = coarse.image.shape[1]
    products = moved.unfold(2, width, 1) * coarse.image[:, None]
    sums = coarse.rows @ products.movedim(2, 1) @ coarse.columns.T
    return sums.movedim(1, 3).double()


def _lagged_squares(moved: Tensor, coarse: DeviceCoarse) -> Tensor:
    """Sum, for every lag along x, window times moved squared; (B, ny, nx, n_lags)."""
    width = coarse.image.shape[1]
    lines = (coarse.rows @ moved**2).unfold(2, width, 1)
    return (lines @ coarse.columns.T).movedim(3, 2).double()
