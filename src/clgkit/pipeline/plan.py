"""What a run is going to do, and why: one step per stage, with its key and state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from clgkit.errors import SettingsError
from clgkit.params import closest
from clgkit.pipeline.store import Level, Manifest, Store, digest
from clgkit.stages import EXTRA, STAGES, Source, Stage

if TYPE_CHECKING:
    from clgkit.pipeline.settings import RunSettings

State = Literal["current", "stale", "missing", "partial", "damaged"]
FORCED = "forced"


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Parameters
    ----------
    name, key
        The stage and what its result depends on.
    inputs
        Argument → key of what it reads.
    sources
        Argument → where it comes from.
    state
        ``current`` results are kept; all others are computed, ``damaged`` ones only as far as
        they are.
    why
        In words, such as ``max_shift_px 15 -> 4``.
    """

    name: str
    key: str
    inputs: dict[str, str]
    sources: dict[str, Source]
    params: dict[str, Any]
    state: State
    why: str

    @property
    def stage(self) -> Stage:
        """The entry in the table of stages."""
        return STAGES[self.name]


def make_plan(
    settings: RunSettings,
    raw_keys: Mapping[str, str],
    store: Store,
    *,
    force: tuple[str, ...] = (),
    level: Level = "quick",
) -> list[Step]:
    """Return the stages of a run in order, with the state of each.

    An optional stage that the run does not ask for is left out.

    Parameters
    ----------
    settings
        Of the run.
    raw_keys
        Raw input → its key.
    store
        Where results lie.
    force
        Stages to compute again although they are current.
    level
        How results are looked at: ``"quick"`` (sizes) or ``"full"`` (checksums).
    """
    for name in force:
        check_asked(name, settings)
    for name in stages_of(settings):
        if (why := settings[name].not_in_a_run) is not None:
            raise SettingsError(why)
    steps: list[Step] = []
    keys = dict(raw_keys)
    for name in stages_of(settings):
        stage = STAGES[name]
        params = settings[name].model_dump(mode="json")
        sources = _sources(name, params, keys)
        inputs = {argument: _key(source, keys) for argument, source in sources.items()}
        key = digest([name, stage.version, params, inputs])
        keys[name] = key
        step = _judged(Step(name, key, inputs, sources, params, "missing", ""), store, level)
        if name in force and step.state == "current":
            step = replace(step, state="stale", why=FORCED)
        steps.append(step)
    return steps


def stages_of(settings: RunSettings) -> list[str]:
    """Return the stages that a run is made of: all but the optional ones it does not ask for."""
    given = {name for name in EXTRA if settings.path(name) is not None}
    return [
        name
        for name, stage in STAGES.items()
        if not stage.optional or settings.asks_for(name) or _extras(stage) & given
    ]


def check_asked(name: str, settings: RunSettings) -> None:
    """Raise `SettingsError` if a run has no stage of this name."""
    check_name(name)
    if name not in stages_of(settings):
        extras = sorted(_extras(STAGES[name]))
        wanted = f"fill in [{extras[0]}] path" if extras else f"write [{name}]"
        raise SettingsError(
            f"{name} is optional, and this run does not ask for it: {wanted} in its settings file."
        )


def check_name(name: str) -> None:
    """Raise `SettingsError` if there is no stage of this name."""
    if name not in STAGES:
        close = closest(name.replace("-", "_"), list(STAGES))
        hint = f" Did you mean {close}?" if close else f" There are: {', '.join(STAGES)}."
        raise SettingsError(f"There is no stage {name!r}.{hint}")


def needed_for(name: str, steps: Sequence[Step]) -> list[Step]:
    """Return the steps that lead to a stage, the last of them its own."""
    wanted = {name}
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= {source.origin for source in step.sources.values()}
    return [step for step in steps if step.name in wanted]


def _extras(stage: Stage) -> set[str]:
    """Return the raw inputs that a stage needs and that not every run has."""
    needed = [argument for argument in stage.inputs if not stage.can_miss(argument)]
    return {source.origin for name in needed for source in stage.sources(name)} & set(EXTRA)


def _sources(name: str, params: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Source]:
    """Return where each argument comes from, of those that the run has."""
    stage, found = STAGES[name], {}
    for argument in stage.inputs:
        sources = stage.sources(argument, params)
        there = [source for source in sources if source.origin in keys]
        if there:
            found[argument] = there[0]
        elif argument in stage.chosen_by:
            setting, origin = stage.chosen_by[argument], sources[-1].origin
            raise SettingsError(
                f'{name}.{setting} is "{params[setting]}", and this run has no {origin}: write '
                f"[{origin}] in its settings file, or set {setting} back."
            )
        elif not stage.can_miss(argument):
            origin = sources[-1].origin
            raise SettingsError(
                f"The run has no {origin}: fill in [{origin}] path in its settings file."
            )
    return found


def _key(source: Source, keys: Mapping[str, str]) -> str:
    key = keys[source.origin]
    return f"{key}.{source.field}" if source.field else key


def _judged(step: Step, store: Store, level: Level) -> Step:
    """Return a step with its state and the reason."""
    manifest = store.manifest(step.name)
    if manifest is None:
        return replace(step, **_unfinished(step, store.partial_key(step.name)))
    if manifest.key != step.key:
        return replace(step, state="stale", why=_difference(manifest, step))
    damage = store.result(step.name, check=False).damage(level)
    if damage:
        return replace(step, state="damaged", why=damage[0])
    return replace(step, state="current")


def _unfinished(step: Step, partial_key: str | None) -> dict[str, Any]:
    if partial_key is None:
        return {"state": "missing", "why": "not computed yet"}
    if partial_key == step.key:
        return {"state": "partial", "why": "interrupted"}
    return {"state": "missing", "why": "interrupted with other settings or data"}


def _difference(manifest: Manifest, step: Step) -> str:
    """Say in words why a stored result is not what is asked for."""
    reasons = []
    if manifest.version != step.stage.version:
        reasons.append(f"version {manifest.version} -> {step.stage.version}")
    for setting in dict.fromkeys([*step.params, *manifest.params]):
        old, new = manifest.params.get(setting), step.params.get(setting)
        if old != new:
            reasons.append(f"{setting} {old} -> {new}")
    for argument in step.stage.inputs:
        if manifest.inputs.get(argument) != step.inputs.get(argument):
            source = step.sources.get(argument)
            reasons.append(
                f"{'.'.join(filter(None, source))} changed" if source else f"{argument} is gone"
            )
    return ", ".join(dict.fromkeys(reasons)) or "made by another version of clgkit"
