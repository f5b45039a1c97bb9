"""What of a run can be shown: results that are whole, and None for those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clgkit.errors import ClgError
from clgkit.pipeline.plan import stages_of
from clgkit.stages import STAGES

if TYPE_CHECKING:
    import xarray as xr

    from clgkit.pipeline.runner import Run
    from clgkit.pipeline.store import Manifest, Result


class Results:
    """The finished stages of a run; nothing is read before it is asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.problems: list[str] = []
        """Why a result that should be there cannot be shown."""
        self._found: dict[str, Result | None] = dict.fromkeys(STAGES)
        self.stages = stages_of(run.settings)
        """The stages that the run is made of, in order."""
        self._found |= {name: self._open(name) for name in self.stages}

    def _open(self, name: str) -> Result | None:
        if self.run.store.manifest(name) is None:
            return None
        try:
            return self.run.store.result(name)
        except ClgError as error:
            self.problems.append(error.message)
            return None

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.run.settings.folder.resolve().name

    @property
    def missing(self) -> list[str]:
        """Stages without a result that can be shown."""
        return [name for name in self.stages if self._found[name] is None]

    def manifests(self) -> dict[str, Manifest]:
        """Return the receipts of the finished stages, in order."""
        return {name: r.manifest for name, r in self._found.items() if r is not None}

    def array(self, source: str) -> xr.DataArray | None:
        """Return ``<stage>.<output>``, to be read on demand, or None."""
        stage, _, name = source.partition(".")
        result = self._found[stage]
        if result is None or name not in result.manifest.outputs:
            return None
        return result.array(name)

    def values(self, source: str) -> dict[str, Any]:
        """Return the plain values ``<stage>.<field>``; empty where there are none."""
        stage, _, name = source.partition(".")
        result = self._found[stage]
        found = {} if result is None else result.manifest.values.get(name, {})
        return dict(found) if isinstance(found, dict) else {}

    def setting(self, stage: str, name: str) -> Any:
        """Return a setting that a result was made with, or None."""
        result = self._found[stage]
        return None if result is None else result.manifest.params.get(name)

    def failed_planes(self) -> dict[int, str]:
        """Return the planes that any stage lost, with the reason."""
        return {
            int(plane): why
            for manifest in self.manifests().values()
            for plane, why in manifest.failed_planes.items()
        }

    def raw(self, name: str) -> xr.DataArray | None:
        """Return a raw input, or None if its file is not at hand."""
        if self.run.settings[name].path or getattr(self.run.settings[name], "time_average", False):
            try:
                found: xr.DataArray = self.run.raw.open(name)
            except (ClgError, OSError):
                return None
            return found
        return None

    def outdated(self) -> list[str]:
        """Return a sentence per result that was made from an earlier result of another stage."""
        found = []
        made = self.manifests()
        for name, manifest in made.items():
            for argument, key in manifest.inputs.items():
                if argument not in STAGES[name].inputs:
                    continue
                sources = STAGES[name].sources(argument, manifest.params)
                there = [source for source in sources if source.origin in made]
                if there and key != f"{made[there[0].origin].key}.{there[0].field}":
                    found.append(
                        f"{name} was computed from an earlier result of {there[0].origin}; "
                        "run `clg run` to bring it up to date."
                    )
        return found
