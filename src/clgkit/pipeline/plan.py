"""What a run is going to do, and why: one step per stage, with its key and state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from clgkit.errors import SettingsError
from clgkit.params import closest
from clgkit.pipeline.store import Manifest, Store, digest
from clgkit.stages import STAGES, Stage

if TYPE_CHECKING:
    from clgkit.pipeline.settings import RunSettings

State = Literal["current", "stale", "missing", "partial"]


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Parameters
    ----------
    name, key
        The stage and what its result depends on.
    inputs
        Argument → key of what it reads.
    state
        ``current`` results are kept; all others are computed.
    why
        In words, such as ``max_shift_px 15 -> 4``.
    """

    name: str
    key: str
    inputs: dict[str, str]
    params: dict[str, Any]
    state: State
    why: str

    @property
    def stage(self) -> Stage:
        """The entry in the table of stages."""
        return STAGES[self.name]


def make_plan(
    settings: RunSettings, raw_keys: Mapping[str, str], store: Store, force: tuple[str, ...] = ()
) -> list[Step]:
    """Return all stages in order, with the state of each.

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
    """
    for name in force:
        check_name(name)
    steps: list[Step] = []
    keys = dict(raw_keys)
    for name, stage in STAGES.items():
        params = settings[name].model_dump(mode="json")
        inputs = _input_keys(stage, keys)
        key = digest([name, stage.version, params, inputs])
        keys[name] = key
        state, why = _judge(store, name, key, params, inputs)
        if name in force and state == "current":
            state, why = "stale", "forced"
        steps.append(Step(name, key, inputs, params, state, why))
    return steps


def check_name(name: str) -> None:
    """Raise `SettingsError` if there is no stage of this name."""
    if name not in STAGES:
        close = closest(name.replace("-", "_"), list(STAGES))
        hint = f" Did you mean {close}?" if close else f" There are: {', '.join(STAGES)}."
        raise SettingsError(f"There is no stage {name!r}.{hint}")


def upstream(name: str) -> list[str]:
    """Return the stages that a stage reads, directly."""
    sources = [source.rstrip("?").partition(".")[0] for source in STAGES[name].inputs.values()]
    return [source for source in sources if source in STAGES]


def _input_keys(stage: Stage, keys: Mapping[str, str]) -> dict[str, str]:
    made = {}
    for argument, source in stage.inputs.items():
        origin, _, field = source.rstrip("?").partition(".")
        if origin in keys:
            made[argument] = f"{keys[origin]}.{field}" if field else keys[origin]
        elif not source.endswith("?"):
            raise SettingsError(
                f"The run has no {origin}: fill in [{origin}] path in its settings file."
            )
    return made


def _judge(
    store: Store, name: str, key: str, params: Mapping[str, Any], inputs: Mapping[str, str]
) -> tuple[State, str]:
    manifest = store.manifest(name)
    if manifest is None:
        partial = (store.run / f"{name}.partial").is_dir()
        return ("partial", "interrupted") if partial else ("missing", "not computed yet")
    if manifest.key != key:
        return "stale", _difference(manifest, name, params, inputs)
    damage = store.damage(name)
    if damage:
        return "stale", f"damaged: {damage[0]}"
    return "current", ""


def _difference(
    manifest: Manifest, name: str, params: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Say in words why a stored result is not what is asked for."""
    reasons = []
    if manifest.version != STAGES[name].version:
        reasons.append(f"version {manifest.version} -> {STAGES[name].version}")
    for setting in [*params, *(set(manifest.params) - set(params))]:
        old, new = manifest.params.get(setting), params.get(setting)
        if old != new:
            reasons.append(f"{setting} {old} -> {new}")
    changed = [
        STAGES[name].inputs[argument].rstrip("?")
        for argument in STAGES[name].inputs
        if manifest.inputs.get(argument) != inputs.get(argument)
    ]
    reasons += [f"{source} changed" for source in changed]
    return ", ".join(reasons) or "made by another version of clgkit"
