"""Count every neuron once: label-guided whole-brain calcium imaging.

The names below are loaded when they are first touched; importing clgkit alone imports
nothing heavy.  A stage is a function of labelled arrays with its own settings::

    import clgkit

    movie = clgkit.read_movie("movie.tif", axes="tzyx", rate_hz=2, voxel_um=(6, 0.8, 0.8))
    corrected = clgkit.correct_motion(movie).corrected

The same stages, with resume and receipts, make a run: ``clg run`` or :class:`Run`.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "ClgError": "errors",
    "DataError": "errors",
    "SettingsError": "errors",
    "StoreError": "errors",
    "ResourceError": "errors",
    "Movie": "data",
    "Volume": "data",
    "Labels": "data",
    "Neurons": "data",
    "Network": "data",
    "movie": "data",
    "volume": "data",
    "labels": "data",
    "Workspace": "workspace",
    "read_movie": "io",
    "read_volume": "io",
    "read_labels": "io",
    "read_traces": "io",
    "read_network": "io",
    "Fish": "simulate",
    "preset": "simulate",
    "normalize_contrast": "stages.normalize_contrast",
    "segment_nuclei": "stages.segment_nuclei",
    "correct_motion": "stages.correct_motion",
    "align_planes": "stages.align_planes",
    "extract_traces": "stages.extract_traces",
    "merge_planes": "stages.merge_planes",
    "compute_dff": "stages.compute_dff",
    "denoise_traces": "stages.denoise_traces",
    "build_network": "stages.build_network",
    "measure_network": "stages.measure_network",
    "dismantle": "stages.dismantle",
    "Run": "pipeline.runner",
}
__all__ = sorted(_HOME)  # noqa: PLE0605  (the names above, written once)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
