"""Local contrast normalization of planes and stacks.

A nucleus is easier to find when its brightness is measured against its own
neighbourhood.  `normalize_contrast` subtracts the local mean of a plane and
divides by the local standard deviation, `normalize_volume` (or `normalize_slices`,
slice by slice) does so in a window that has depth; `percentile_limits` (or
`StackLimits`, plane by plane) finds one brightness scale for a whole stack, so that a
nucleus keeps its brightness from plane to plane.  `affine_map` makes 16-bit integers of
a normalised stack that can be turned back; `to_uint16` stretches a normalised plane
between its own percentiles, and `normalize_to_uint16` does both as the original.
"""

from clgkit.contrast.affine import AffineMap, affine_map
from clgkit.contrast.normalize import normalize_contrast, normalize_to_uint16, to_uint16
from clgkit.contrast.scale import Limits, StackLimits, percentile_limits
from clgkit.contrast.volume import normalize_slices, normalize_volume

__all__ = [
    "AffineMap",
    "Limits",
    "StackLimits",
    "affine_map",
    "normalize_contrast",
    "normalize_slices",
    "normalize_to_uint16",
    "normalize_volume",
    "percentile_limits",
    "to_uint16",
]
