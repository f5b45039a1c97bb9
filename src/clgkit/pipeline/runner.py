"""Computes the stages that are not current, one after the other, and survives crashes."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import shutil
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clgkit.errors import ClgError, DataError, ResourceError
from clgkit.pipeline import nouns
from clgkit.pipeline.cost import measured
from clgkit.pipeline.estimate import Estimate, estimate
from clgkit.pipeline.inputs import RawInputs
from clgkit.pipeline.lock import locked
from clgkit.pipeline.plan import FORCED, Step, check_asked, make_plan, needed_for
from clgkit.pipeline.store import Manifest, Store, disk_error
from clgkit.stages import STAGES, function_of
from clgkit.workspace import FAILED, Workspace

if TYPE_CHECKING:
    from clgkit.pipeline.settings import RunSettings

log = logging.getLogger("clgkit.run")
PACKAGES = ("clgkit", "numpy", "scipy", "numba", "xarray", "zarr", "tifffile")
HEAD_ROOM = 1.1


@dataclass
class Outcome:
    """What became of the stages of a run."""

    computed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, ClgError] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """Which stages a run is about.

    Parameters
    ----------
    until
        Stop after this stage.
    force
        Compute these again although they are current.
    check
        Compare the checksums of all results first, and mend those that have changed.
    """

    until: str | None = None
    force: tuple[str, ...] = ()
    check: bool = False


class Run:
    """One run folder with its settings."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.store = Store(settings.folder)
        self.raw = RawInputs(settings)

    def plan(self, selection: Selection | None = None) -> list[Step]:
        """Return the steps of the chosen stages, with the state of each; reads no pixels."""
        selection = selection or Selection()
        if selection.until is not None:
            check_asked(selection.until, self.settings)
        steps = make_plan(
            self.settings,
            self.raw.keys(),
            self.store,
            force=selection.force,
            level="full" if selection.check else "quick",
        )
        return steps if selection.until is None else needed_for(selection.until, steps)

    def estimates(self, steps: Iterable[Step]) -> dict[str, Estimate]:
        """Return what each step is going to take of disk and memory."""
        return {step.name: estimate(step.name, self.raw) for step in steps}

    def execute(self, workspace: Workspace, selection: Selection | None = None) -> Outcome:
        """Compute what is not current.

        A stage that fails does not stop the stages that do not need it.

        Raises
        ------
        ClgError
            Before the first stage: bad input, too little disk, or a locked folder.
        """
        with locked(self.settings.folder):
            for name in STAGES:
                self.store.recover(name)
            steps = self.plan(selection)
            for step in steps:
                self._prepare(step)
            todo = [step for step in steps if step.state != "current"]
            outcome = Outcome(kept=[step.name for step in steps if step.state == "current"])
            if todo:
                outcome.warnings += self.raw.check()
                self._check_disk(todo)
            for step in todo:
                self._attempt(step, workspace, outcome)
        return outcome

    def _prepare(self, step: Step) -> None:
        """Clear away what a step does not go on with."""
        if step.state == "damaged":
            self.store.reopen(step.name)
        elif step.state == "current" or step.why == FORCED:
            self.store.discard_partial(step.name)

    def _check_disk(self, todo: list[Step]) -> None:
        needed = sum(estimate(step.name, self.raw).disk_mb for step in todo) * HEAD_ROOM
        free = shutil.disk_usage(self.settings.folder).free / 1e6
        if needed > free:
            raise ResourceError(
                f"The run needs about {needed:.0f} MB on the disk of {self.settings.folder}, but "
                f"{free:.0f} MB are free. Make room or move the run folder.",
                code="E_DISK",
            )

    def _attempt(self, step: Step, workspace: Workspace, outcome: Outcome) -> None:
        for name, _ in step.sources.values():
            if name in outcome.failed or name in outcome.blocked:
                outcome.blocked[step.name] = name
                log.warning("%s is blocked by %s", step.name, name)
                return
        try:
            manifest = self._compute(step, workspace)
        except (ClgError, OSError) as caught:
            folder = self.settings.folder
            error = caught if isinstance(caught, ClgError) else disk_error(caught, folder)
            outcome.failed[step.name] = error
            log.error(  # noqa: TRY400  (the sentence is for the user; the trace is logged below)
                "%s failed: %s", step.name, error.message, extra={"code": error.code}
            )
            log.debug("%s", step.name, exc_info=True)
            return
        outcome.computed.append(step.name)
        outcome.warnings += [f"{step.name}: {warning}" for warning in manifest.warnings]
        outcome.warnings += [
            f"{step.name}: plane {plane} was left out: {why}"
            for plane, why in manifest.failed_planes.items()
        ]

    def _compute(self, step: Step, workspace: Workspace) -> Manifest:
        log.info("%s: %s", step.name, step.why)
        started = time.strftime("%Y-%m-%dT%H:%M:%S")
        partial = self.store.partial(step.name, step.key)
        if partial.resumed_blocks:
            log.info("%s: resumed, %d blocks were done", step.name, partial.resumed_blocks)
        inputs = self._inputs(step)
        with measured() as cost, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", category=UserWarning)
            made = function_of(step.name)(
                **inputs, params=self.settings[step.name], workspace=workspace.with_shelf(partial)
            )
            values = nouns.save(made, partial)
        result = partial.finish(
            {
                "version": step.stage.version,
                "params": step.params,
                "inputs": step.inputs,
                "values": values,
                "failed_planes": _failed(made),
                "warnings": [str(w.message) for w in caught if w.category is UserWarning],
                "cost": cost,
                "provenance": {"started": started, **provenance()},
            }
        )
        log.info(
            "%s: done in %.1f s (%.1f s of processor, %.0f MB)",
            step.name,
            cost["seconds"],
            cost["cpu_seconds"],
            cost["peak_mb"],
        )
        return result.manifest

    def _inputs(self, step: Step) -> dict[str, Any]:
        read = {}
        for argument, (origin, name) in step.sources.items():
            read[argument] = (
                nouns.load(self.store.result(origin), name) if name else self.raw.open(origin)
            )
        return read


def _failed(made: Any) -> dict[str, str]:
    lost: dict[str, str] = {}
    for value in made:
        lost |= dict(getattr(value, "attrs", {}).get(FAILED, {}))
    return lost


def provenance() -> dict[str, Any]:
    """Return the versions of what computes."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an installation without metadata
            versions[name] = "unknown"
    return {"python": platform.python_version(), "packages": versions, "hash": "sha256"}


def first_error(outcome: Outcome) -> ClgError | None:
    """Return the error that decides the exit code of a run."""
    errors = list(outcome.failed.values())
    return next((e for e in errors if not isinstance(e, DataError)), errors[0] if errors else None)
