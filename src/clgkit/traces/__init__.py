"""Traces of neurons, from labelled frames to dF/F and principal components.

`find_rois` turns the labels of a plane into runs of pixels and `extract` averages the
frames over them.  `plan_merge` and `merge` make one trace per nucleus from the rois of
all planes, so that every neuron is counted once; `measure_labels` gives each nucleus
its place in the volume.  `compute_dff` divides by a running baseline (`sliding_rank`,
`sliding_median` and `noise_std` are its parts).  `fit_components`, `denoise` and
`low_rank` keep the principal components of many traces.
"""

from clgkit.traces.baseline import noise_std, sliding_median, sliding_rank
from clgkit.traces.centroids import Geometry, LabelGeometry, measure_labels
from clgkit.traces.components import Components, denoise, fit_components, low_rank
from clgkit.traces.dff import Dff, Reason, compute_dff, window_frames, windowed_median_dff
from clgkit.traces.extract import extract
from clgkit.traces.merge import MergePlan, merge, plan_merge
from clgkit.traces.rois import Rois, find_rois

__all__ = [
    "Components",
    "Dff",
    "Geometry",
    "LabelGeometry",
    "MergePlan",
    "Reason",
    "Rois",
    "compute_dff",
    "denoise",
    "extract",
    "find_rois",
    "fit_components",
    "low_rank",
    "measure_labels",
    "merge",
    "noise_std",
    "plan_merge",
    "sliding_median",
    "sliding_rank",
    "window_frames",
    "windowed_median_dff",
]
