"""Batches of frames read at other places: the cubic interpolation of `cubic`, by gathering."""

from __future__ import annotations

from typing import NamedTuple

from clgkit.registration.accelerated import Tensor, torch
from clgkit.registration.cubic import SNAP_PX

TAPS = (-1, 0, 1, 2)


class Kernel(NamedTuple):
    """What is read along one axis."""

    source: list[Tensor]
    """Four indices for each place, clipped to the axis."""
    weights: list[Tensor]
    inside: Tensor
    """Whether those that count lie on the axis."""


def sample(
    images: Tensor, y: Tensor, x: Tensor, *, line_offset_px: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Read images at places of their own for every pixel.

    Parameters
    ----------
    images : (B, Y, X) float32
    y, x
        Where to read, relative to each pixel; of a shape that broadcasts to (B, Y, X).
    line_offset_px
        Odd rows of the images are read so far to the right.

    Returns
    -------
    value : (B, Y, X) float32
        Without meaning where not inside.
    inside : bool, broadcasts to (B, Y, X)
        Whether the kernel lies in the image.

    Notes
    -----
    Keys' kernel with a = -1/2 reads 4 x 4 pixels; along an axis with a whole displacement it
    reads the pixel only, so that a NaN beside it does no harm
    (:func:`clgkit.registration.cubic.sample_row`).
    """
    height, width = images.shape[1:]
    row = torch.arange(height, device=images.device)[:, None]
    column = torch.arange(width, device=images.device)
    lines, columns = _kernel(y, row), _kernel(x, column)
    flat, value = images.flatten(1), torch.zeros_like(images)
    index = torch.empty(images.shape, dtype=torch.int64, device=images.device)
    inside = lines.inside if line_offset_px else lines.inside & columns.inside
    for source, weight in zip(lines.source, lines.weights, strict=True):
        if line_offset_px:
            columns = _kernel(torch.where(source % 2 == 1, x + line_offset_px, x), column)
            inside = inside & columns.inside
        start, line = source * width, torch.zeros_like(images)
        for place, share in zip(columns.source, columns.weights, strict=True):
            torch.add(start.expand(images.shape), place, out=index)
            line.addcmul_(share, flat.gather(1, index.flatten(1)).view(images.shape))
        value.addcmul_(weight, line)
    return value, inside


def undo_line_offsets(images: Tensor, offset_px: float) -> Tensor:
    """Move the odd rows of images, (B, Y, X) float32, back by the offset.

    Pixels that come from outside repeat the end of the row, as in
    :func:`clgkit.registration.bidirectional.undo_line_offset`.
    """
    _, height, width = images.shape
    still = torch.zeros((1, 1, 1), device=images.device)
    value, inside = sample(images, still, still, line_offset_px=offset_px)
    column = torch.arange(width, device=images.device, dtype=torch.float64) + offset_px
    end = images[:, :, column.round().clamp(0, width - 1).long()]
    odd = (torch.arange(height, device=images.device) % 2 == 1)[:, None]
    return torch.where(odd, torch.where(inside, value, end), images)


def _kernel(displacement: Tensor, place: Tensor) -> Kernel:
    """Prepare to read at displacements from the places of an axis."""
    length = place.numel()
    whole = torch.floor(displacement + float(SNAP_PX))
    t = displacement - whole
    fraction = t >= float(SNAP_PX)
    t = torch.where(fraction, t, 0).float()
    first, steps = place + whole.long(), fraction.long()
    weights = [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
    source = [(first + tap * steps).clamp_(0, length - 1) for tap in TAPS]
    return Kernel(source, weights, (first - steps >= 0) & (first + 2 * steps < length))
