"""Motion correction, and the structural slice behind every functional plane.

A *shift* is the displacement to apply to the content of a frame, +y down, +x right.
"""

from clgkit.registration.axial import (
    PlaneMatch,
    PlaneScores,
    match_planes,
    plane_to_slice,
    score_planes,
)
from clgkit.registration.filters import difference_of_gaussians
from clgkit.registration.frames import (
    FrameCode,
    FrameStatistics,
    find_bad_frames,
    frame_statistics,
    join_statistics,
)
from clgkit.registration.order import OrderedAssignment, assign_in_order
from clgkit.registration.quality import (
    NOISE_LEVEL,
    correlation_to_template,
    crispness,
    neighbour_correlation,
)
from clgkit.registration.rigid import (
    RigidShifts,
    RigidTemplate,
    estimate_rigid,
    prepare_rigid,
    register_rigid,
)
from clgkit.registration.spectrum import Shifts, estimate_shifts
from clgkit.registration.template import choose_frames, make_template
from clgkit.registration.warp import shift_frames, valid_mask, warp_image, warp_labels

__all__ = [
    "NOISE_LEVEL",
    "FrameCode",
    "FrameStatistics",
    "OrderedAssignment",
    "PlaneMatch",
    "PlaneScores",
    "RigidShifts",
    "RigidTemplate",
    "Shifts",
    "assign_in_order",
    "choose_frames",
    "correlation_to_template",
    "crispness",
    "difference_of_gaussians",
    "estimate_rigid",
    "estimate_shifts",
    "find_bad_frames",
    "frame_statistics",
    "join_statistics",
    "make_template",
    "match_planes",
    "neighbour_correlation",
    "plane_to_slice",
    "prepare_rigid",
    "register_rigid",
    "score_planes",
    "shift_frames",
    "valid_mask",
    "warp_image",
    "warp_labels",
]
