"""One TOML file holds all of a run: where the data are, and the settings of every stage."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, create_model

from clgkit import fsio
from clgkit.errors import SettingsError
from clgkit.params import Params, explain
from clgkit.stages import STAGES, params_of

if TYPE_CHECKING:
    from collections.abc import Collection

FILE = "run.toml"
MAX_BYTES = 1_000_000

Spacing = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class Source(Params):
    """Where an image lies and what its file does not say."""

    path: str = ""
    """File or folder, relative to this settings file."""
    axes: str | None = None
    """Order of its axes, such as "tzyx" or "zyx"; needed where the file does not say."""
    voxel_um: Spacing | None = None
    """Size of a voxel along z, y, x in micrometres; needed where the file does not say."""
    dataset: str | None = None
    """Name of the array inside an HDF5 or npz file."""
    channel: int | str | None = None
    """Channel to take, by number (from 0) or name, where the file holds several."""
    ignore_noise: bool = False
    """Go on even if the image looks like noise (neighbouring pixels do not agree)."""


class Structure(Source):
    """The structural stack (nuclear channel)."""

    time_average: bool = False
    """Take the time average of the functional movie instead of a file of its own."""


class Function(Source):
    """The functional movie (calcium channel)."""

    rate_hz: PositiveFloat | None = None
    """Volumes per second; needed where the file does not say."""
    trim: bool = False
    """Where planes have different numbers of frames, take the shortest."""
    salvage: bool = False
    """Where a file is cut off, use the frames that can be read."""


class Nuclear(Source):
    """The functional movie's second, nuclear channel (optional)."""


class Reference(Source):
    """One fixed image per functional plane to correct motion against (optional)."""


class PlaneMapSource(Params):
    """Which structural slice each functional plane is, where that is known."""

    path: str | None = None
    """Text file with lines like `2-85` (functional plane - structural slice, from 1)."""


class ModelFile(Params):
    """A network of your own that finds nuclei (optional)."""

    path: str | None = None
    """A Cellpose 2 or 3 model, or a network that `clg train-nuclei` wrote."""


class DenoiserSource(Params):
    """A network of your own that denoises movies, for method "support" (optional)."""

    path: str | None = None
    """A file of `clg train-denoiser`, or published SUPPORT weights."""


class BeadSource(Params):
    """Image of one small bead, for deconvolve.psf = "measured" (optional)."""

    path: str | None = None
    """TIFF, zarr, HDF5, .npy or .npz; of a stack the slice in focus is used."""
    axes: str | None = None
    """Order of its axes, such as "zyx"; needed where the file does not say."""
    voxel_um: Spacing | None = None
    """Size of a voxel along z, y, x in micrometres; that of the structure if nothing says it."""
    dataset: str | None = None
    """Name of the array inside an HDF5, zarr or npz file."""
    channel: int | str | None = None
    """Channel to take, by number (from 0) or name, where the file holds several."""


class LabelsSource(Params):
    """Labels of the nuclei, made elsewhere (optional)."""

    path: str | None = None
    """TIFF, zarr, HDF5, .npy, .npz, a _seg.npy of Cellpose, or a folder of one mask per slice."""
    axes: str | None = None
    """Order of its axes, such as "zyx"; needed where the file does not say."""
    dataset: str | None = None
    """Name of the array inside an HDF5, zarr or npz file."""


class Resources(Params):
    """What the run may use; no result depends on it."""

    workers: PositiveInt | None = None
    """Blocks that run at the same time; one per processor if not given."""
    memory_mb: PositiveFloat | None = None
    """Megabytes for all blocks in flight; a quarter of what is free if not given."""
    executor: Literal["serial", "threads", "processes"] = "threads"
    """How blocks run."""
    device: str = "cpu"
    """Where the stages that can use a GPU compute: "cpu", "cuda", or "cuda:1"."""


@cache
def settings_model() -> type[BaseModel]:
    """Return the model of the whole file: data, resources, and one section per stage."""
    sections: dict[str, Any] = {
        "structure": Structure,
        "function": Function,
        "plane_map": PlaneMapSource,
        "reference": Reference,
        "nuclear": Nuclear,
        "model": ModelFile,
        "labels": LabelsSource,
        "denoiser": DenoiserSource,
        "psf": BeadSource,
        "resources": Resources,
        **{name: params_of(name) for name in STAGES},
    }
    fields: dict[str, Any] = {
        name: (Annotated[kind, Field(default_factory=kind)]) for name, kind in sections.items()
    }
    return create_model("RunSettings", __base__=Params, __doc__="All settings of a run.", **fields)


class RunSettings:
    """The settings of one run folder."""

    def __init__(self, folder: Path, sections: BaseModel) -> None:
        self.folder = folder
        self.sections = sections

    def __getitem__(self, section: str) -> Any:
        """Return the settings of a section."""
        return getattr(self.sections, section)

    def asks_for(self, stage: str) -> bool:
        """Return whether the section of a stage stands in the settings."""
        return stage in self.sections.model_fields_set

    def path(self, section: str) -> Path | None:
        """Return the file a data section names, or None."""
        name = self[section].path
        return (self.folder / name) if name else None


def load(folder: Path, overrides: tuple[str, ...] = ()) -> RunSettings:
    """Read ``run.toml`` of a run folder.

    Parameters
    ----------
    folder
        The run folder.
    overrides
        ``section.key=value`` texts; the value is read as TOML.

    Raises
    ------
    SettingsError
        With every problem of the file at once.
    """
    path = folder / FILE
    if not path.is_file():
        raise SettingsError(
            f"There is no {FILE} in {folder}. Write one with `clg init {folder}` and fill in "
            "where your data are."
        )
    if path.stat().st_size > MAX_BYTES:
        raise SettingsError(f"{path} is larger than 1 MB; this is not a settings file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    for override in overrides:
        _override(values, override)
    return RunSettings(folder, parse(values, str(path)))


def parse(values: dict[str, Any], source: str) -> BaseModel:
    """Return validated settings, or raise `SettingsError` with all problems."""
    model = settings_model()
    try:
        sections = model.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(explain(error, model, ""))
        raise SettingsError(
            f"{source} has settings this version does not accept:\n{problems}\n"
            "Run `clg settings` to see every setting with its default."
        ) from None
    _check_together(sections, source)
    return sections


def _check_together(sections: Any, source: str) -> None:
    """Raise `SettingsError` if sections that are right each ask for what cannot be."""
    if sections.extract_traces.movie == "denoised" and sections.denoise.store == "factors":
        raise SettingsError(
            f'{source}: extract_traces.movie is "denoised", and denoise.store is "factors", which '
            'makes no movie; set denoise.store = "pixels".'
        )
    if "deconvolve" in sections.model_fields_set:
        why = sections.deconvolve.why_not(with_bead=bool(sections.psf.path))
        if why is not None:
            raise SettingsError(f"{source}: deconvolve: {why}", code="E_PSF")


def _override(values: dict[str, Any], text: str) -> None:
    name, found, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not found or not dot:
        raise SettingsError(f"--set {text!r} is not of the form section.key=value.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if not isinstance(values.setdefault(section, {}), dict):
        raise SettingsError(f"[{section}] of the settings file is no section; --set cannot use it.")
    values[section][key] = parsed


def write(folder: Path, values: dict[str, dict[str, Any]] | None = None) -> Path:
    """Write a complete, commented ``run.toml``.

    Parameters
    ----------
    folder
        The run folder; it is made if needed.
    values
        Section → setting → value that differs from the default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    sections = parse(values or {}, "these values")
    left_out = {name for name, stage in STAGES.items() if stage.optional}
    fsio.write_text(path, as_toml(sections, left_out - sections.model_fields_set))
    return path


def as_toml(sections: BaseModel, left_out: Collection[str] = ()) -> str:
    """Return settings as a commented TOML text.

    Parameters
    ----------
    sections
        All settings.
    left_out
        Optional stages whose sections are comments, so that they do not run.
    """
    lines = ["# Settings of a clgkit run. Every setting stands here with its value.", ""]
    for name in type(sections).model_fields:
        section = getattr(sections, name)
        lines += _comment(_first_line(type(section)))
        if name in STAGES and STAGES[name].optional:
            lines.append("# Optional: runs only if the line in brackets stands here.")
        mark = "# " if name in left_out else ""
        lines.append(f"{mark}[{name}]")
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            lines += _comment(field.description or "")
            lines.append(f"# {key} =" if value is None else f"{mark}{key} = {toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0].replace(":func:", "").replace("`", "")


def _comment(text: str) -> list[str]:
    return [f"# {line.strip()}" for line in text.replace("``", '"').splitlines() if line.strip()]


def toml_value(value: Any) -> str:
    """Return a plain value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return repr(value)
