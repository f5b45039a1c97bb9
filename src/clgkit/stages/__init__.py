"""The steps of the pipeline; :data:`STAGES` is the table of contents of the project.

One name everywhere: the stage ``correct_motion`` is the function of that name in the
module of that name, its settings are the class ``CorrectMotion`` and the section
``[correct_motion]``, its command is ``clg correct-motion``, its result lies in
``<run>/correct_motion/``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clgkit.params import Params


@dataclass(frozen=True)
class Stage:
    """One step.

    Parameters
    ----------
    summary
        What the user gets, in one line.
    inputs
        Argument → where it comes from: a raw input (``structure``, ``function``, or one of
        `EXTRA`) or ``<stage>.<field>``.  Of several sources with ``or`` between them the first
        that a run has is taken; a trailing ``?`` marks what may be absent.
    optional
        The stage is left out of a run unless its section stands in the settings file, or the
        run has the `EXTRA` raw input that it reads.
    version
        Raised when the same settings give other numbers.
    chosen_by
        Argument → setting of the stage that names the field it is taken from, where the first
        source there is need not be the right one.  The stage itself does not read that setting.
    """

    summary: str
    inputs: dict[str, str]
    optional: bool = False
    version: int = 1
    chosen_by: dict[str, str] = field(default_factory=dict)

    def sources(
        self, argument: str, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> list[Source]:
        """Return where an argument may come from, the preferred source first.

        With the stage's settings only what they choose.
        """
        texts = self.inputs[argument].rstrip("?").split(" or ")
        sources = [Source(*text.split(".")) for text in texts]
        wanted = settings.get(self.chosen_by.get(argument, ""))
        return [source for source in sources if wanted in {None, source.field}]

    def can_miss(self, argument: str) -> bool:
        """Return whether the stage works without an argument."""
        return self.inputs[argument].endswith("?")


class Source(NamedTuple):
    """A raw input (no field), or a field of the result of a stage."""

    origin: str
    field: str = ""


EXTRA = ("plane_map", "reference", "nuclear", "model", "labels", "denoiser", "psf")
"""Raw inputs that a run may lack."""


STAGES: dict[str, Stage] = {
    "deconvolve": Stage(
        "Structural stack with less noise, and sharper where that is asked for",
        {"structure": "structure", "psf": "psf?"},
        optional=True,
    ),
    "normalize_contrast": Stage(
        "Structural stack with even brightness and contrast",
        {"structure": "deconvolve.deconvolved or structure"},
    ),
    "segment_nuclei": Stage(
        "3-D identity of every nucleus",
        {
            "structure": "deconvolve.deconvolved or structure",
            "raw": "structure",
            "model": "model?",
            "labels": "labels?",
        },
        version=3,
    ),
    "correct_motion": Stage(
        "Functional movie with the motion of every frame undone",
        {"function": "function", "reference": "reference?"},
        version=3,
    ),
    "denoise": Stage(
        "Functional movie with its noise taken out, as pixels or as factors",
        {
            "corrected": "correct_motion.corrected",
            "bad_frames": "correct_motion.bad_frames",
            "network": "denoiser?",
        },
        optional=True,
    ),
    "apply_motion": Stage(
        "Second channel of the functional movie with the same motion undone",
        {
            "movie": "nuclear",
            "patch_shifts": "correct_motion.patch_shifts",
            "summary": "correct_motion.summary",
            "bad_frames": "correct_motion.bad_frames",
            "template": "correct_motion.template",
        },
        optional=True,
        version=3,
    ),
    "align_planes": Stage(
        "Structural slice and offset of every functional plane",
        {
            "template": "correct_motion.template",
            "structure": "structure",
            "plane_map": "plane_map?",
            "nuclear": "apply_motion.template?",
            "corrected": "apply_motion.corrected or correct_motion.corrected?",
            "bad_frames": "correct_motion.bad_frames?",
        },
        version=3,
    ),
    "extract_traces": Stage(
        "Fluorescence of every nucleus on every plane that cuts it",
        {
            "corrected": "correct_motion.corrected or denoise.denoised",
            "labels": "segment_nuclei.labels",
            "planes": "align_planes.planes",
            "maps": "align_planes.maps?",
            "residual": "align_planes.residual?",
            "bad_frames": "correct_motion.bad_frames?",
        },
        version=2,
        chosen_by={"corrected": "movie"},
    ),
    "merge_planes": Stage(
        "One trace per neuron, from all planes that cut its nucleus",
        {"rois": "extract_traces.rois", "labels": "segment_nuclei.labels"},
    ),
    "compute_dff": Stage(
        "Relative fluorescence change of every neuron",
        {"fluorescence": "merge_planes.fluorescence"},
    ),
    "denoise_traces": Stage(
        "Traces on the principal components that hold the variance",
        {"dff": "compute_dff.dff"},
    ),
    "build_network": Stage(
        "Graph of the strongest correlations",
        {"traces": "denoise_traces.scores"},
    ),
    "measure_network": Stage(
        "Degree, clustering, component and centrality of every neuron",
        {"network": "build_network.network"},
    ),
    "dismantle": Stage(
        "Order of removals that breaks the network, and how fast it breaks",
        {"network": "build_network.network"},
    ),
}


def function_of(name: str) -> Callable[..., Any]:
    """Return the function of a stage."""
    made: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return made


def params_of(name: str) -> type[Params]:
    """Return the settings class of a stage."""
    kind: type[Params] = getattr(importlib.import_module(f"{__name__}.{name}"), camel(name))
    return kind


def camel(name: str) -> str:
    """Return the class name of a stage: ``correct_motion`` → ``CorrectMotion``."""
    return "".join(part.capitalize() for part in name.split("_"))
