"""Local contrast normalization of planes.

A nucleus is easier to find when its brightness is measured against its own
neighbourhood.  `normalize_contrast` subtracts the local mean of a plane and
divides by the local standard deviation; `percentile_limits` (or `StackLimits`,
plane by plane) finds one brightness scale for a whole stack, so that a nucleus
keeps its brightness from plane to plane; `to_uint16` stretches a normalised plane
between its own percentiles, and `normalize_to_uint16` does both as the original.
"""

from clgkit.contrast.normalize import normalize_contrast, normalize_to_uint16, to_uint16
from clgkit.contrast.scale import Limits, StackLimits, percentile_limits

__all__ = [
    "Limits",
    "StackLimits",
    "normalize_contrast",
    "normalize_to_uint16",
    "percentile_limits",
    "to_uint16",
]
