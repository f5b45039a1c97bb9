"""Motion correction, and the structural slice behind every functional plane.

A *shift* is the displacement to apply to the content of a frame, +y down, +x right.
"""

from clgkit.registration.alike import frames_alike
from clgkit.registration.apply import Corrected, apply_shifts
from clgkit.registration.axial import (
    PlaneMatch,
    PlaneScores,
    match_planes,
    plane_to_slice,
    score_planes,
)
from clgkit.registration.bidirectional import LineOffset, estimate_line_offset
from clgkit.registration.common_tilt import CommonTilt, match_common_tilt
from clgkit.registration.crossmodal import PlaneMap, register_plane
from clgkit.registration.farther import look_farther
from clgkit.registration.field import Centers, field_at
from clgkit.registration.filters import difference_of_gaussians
from clgkit.registration.frames import (
    FrameCode,
    FrameStatistics,
    find_bad_frames,
    frame_statistics,
    join_statistics,
)
from clgkit.registration.heldout import (
    ResidualFlow,
    SplitScore,
    photon_split_score,
    residual_flow,
    split_photons,
)
from clgkit.registration.normcorre import (
    FrameSource,
    NormcorreBlock,
    NormcorreResult,
    NormcorreSettings,
    apply_like_normcorre,
    iterate_like_normcorre,
    register_like_normcorre,
)
from clgkit.registration.order import OrderedAssignment, assign_in_order
from clgkit.registration.piecewise import (
    PiecewiseShifts,
    PreparedPiecewise,
    prepare_piecewise,
    register_piecewise,
)
from clgkit.registration.placement import CellErrors, ShiftedControl, cell_errors, shifted_control
from clgkit.registration.quality import (
    NOISE_LEVEL,
    correlation_to_template,
    crispness,
    neighbour_correlation,
)
from clgkit.registration.rigid import (
    RigidShifts,
    RigidTemplate,
    Shifts,
    estimate_rigid,
    estimate_shifts,
    is_sure,
    prepare_rigid,
    register_rigid,
)
from clgkit.registration.settle import pool_frames, settle_shifts, spread_shifts
from clgkit.registration.template import (
    RunningTemplate,
    choose_frames,
    find_bad_pixels,
    make_template,
    plan_bins,
)
from clgkit.registration.tilt import (
    Drift,
    Tilt,
    cut_labels,
    match_tilt,
    sample_oblique,
    z_drift,
)
from clgkit.registration.to_slice import invert_field, warp_frames
from clgkit.registration.warp import shift_frames, valid_mask, warp_image, warp_labels

__all__ = [
    "NOISE_LEVEL",
    "CellErrors",
    "Centers",
    "CommonTilt",
    "Corrected",
    "Drift",
    "FrameCode",
    "FrameSource",
    "FrameStatistics",
    "LineOffset",
    "NormcorreBlock",
    "NormcorreResult",
    "NormcorreSettings",
    "OrderedAssignment",
    "PiecewiseShifts",
    "PlaneMap",
    "PlaneMatch",
    "PlaneScores",
    "PreparedPiecewise",
    "ResidualFlow",
    "RigidShifts",
    "RigidTemplate",
    "RunningTemplate",
    "ShiftedControl",
    "Shifts",
    "SplitScore",
    "Tilt",
    "apply_like_normcorre",
    "apply_shifts",
    "assign_in_order",
    "cell_errors",
    "choose_frames",
    "correlation_to_template",
    "crispness",
    "cut_labels",
    "difference_of_gaussians",
    "estimate_line_offset",
    "estimate_rigid",
    "estimate_shifts",
    "field_at",
    "find_bad_frames",
    "find_bad_pixels",
    "frame_statistics",
    "frames_alike",
    "invert_field",
    "is_sure",
    "iterate_like_normcorre",
    "join_statistics",
    "look_farther",
    "make_template",
    "match_common_tilt",
    "match_planes",
    "match_tilt",
    "neighbour_correlation",
    "photon_split_score",
    "plan_bins",
    "plane_to_slice",
    "pool_frames",
    "prepare_piecewise",
    "prepare_rigid",
    "register_like_normcorre",
    "register_piecewise",
    "register_plane",
    "register_rigid",
    "residual_flow",
    "sample_oblique",
    "score_planes",
    "settle_shifts",
    "shift_frames",
    "shifted_control",
    "split_photons",
    "spread_shifts",
    "valid_mask",
    "warp_frames",
    "warp_image",
    "warp_labels",
    "z_drift",
]
