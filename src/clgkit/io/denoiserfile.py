"""Weights of denoising networks: published ``.pth`` files and ours, which also say what they are.

A file of ours is a published one too: a plain state dict of torch.  What it is (sizes, training)
lies in the metadata that torch keeps with every state dict, where other programs pass over it.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import DataError, MissingDependency
from clgkit.io.pixels import writable

__all__ = ["DenoiserFile", "read_denoiser", "write_denoiser"]

ENDINGS = (".pth", ".pt")
KEY = "clgkit"
PARALLEL = "module."  # before every name in a file saved by a program for several GPUs
BROKEN = (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, AttributeError)


class DenoiserFile(NamedTuple):
    """What a file of weights holds."""

    state: dict[str, npt.NDArray[np.float32]]
    """Name → array."""
    configuration: dict[str, Any]
    """What :func:`write_denoiser` was given; empty for a published file."""


def read_denoiser(path: Path | str) -> DenoiserFile:
    """Return the weights of a denoising network; nothing in the file is executed.

    Parameters
    ----------
    path
        A file of :func:`write_denoiser`, or a published one.

    Raises
    ------
    DataError
        ``E_PATH``: there is no such file; ``E_TRUNCATED``: it cannot be read; ``E_SHAPE``: it
        holds something else than weights.
    MissingDependency
        If torch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"There is no file {path}; clg train-denoiser makes one of a movie.", code="E_PATH"
        )
    found = _loaded(path)
    state = {_plain(name): values for name, values in found.items()}
    configuration = getattr(found, "_metadata", {}).get(KEY, "{}")
    return DenoiserFile(state, _parsed(path, configuration))


def _plain(name: str) -> str:
    return name.removeprefix(PARALLEL)


def _loaded(path: Path) -> Any:
    """Return the state dict of a file, its tensors as arrays."""
    torch = _torch()
    try:
        with warnings.catch_warnings():  # of a pickle that it then refuses
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than weights, or is no file of torch; it was not opened, since "
            "what else is in it could run a program. Save the bare state dict of the network.",
            code="E_SHAPE",
        ) from error
    except BROKEN as error:
        raise DataError(
            f"{path} is a damaged file of weights ({_first(error)}). Copy it again.",
            code="E_TRUNCATED",
        ) from error
    if not isinstance(found, dict) or not found:
        raise DataError(
            f"{path} holds no weights but {type(found).__name__}; wanted is a state dict, "
            "name by name.",
            code="E_SHAPE",
        )
    strange = [n for n, t in found.items() if not (isinstance(n, str) and torch.is_tensor(t))]
    if strange:
        raise DataError(
            f"{path} holds {strange[0]!r}, which is no weight; wanted is a bare state dict.",
            code="E_SHAPE",
        )
    for name in found:
        found[name] = found[name].float().numpy()
    return found


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _parsed(path: Path, text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not say what its weights are in a way that can be read; train again.",
            code="E_SHAPE",
        ) from error
    return found if isinstance(found, dict) else {}


def write_denoiser(
    path: Path | str,
    state: Mapping[str, npt.NDArray[Any]],
    configuration: Mapping[str, Any],
) -> None:
    """Write weights and what they are to one file, and read it back.

    Parameters
    ----------
    path
        Ends with ``.pth`` or ``.pt``.
    state
        Name → array.
    configuration
        What JSON can hold.

    Raises
    ------
    DataError
        ``E_PATH``: the name has another ending, or its folder is not there.
    MissingDependency
        If torch is not installed.
    """
    path = check_ending(path)
    torch = _torch()
    made: OrderedDict[str, Any] = OrderedDict()
    for name, values in state.items():
        made[name] = torch.tensor(np.asarray(values, np.float32))
    # Where torch itself keeps versions of modules, by the name of the module.
    text = json.dumps(dict(configuration), sort_keys=True)
    made._metadata = OrderedDict({"": {"version": 1}, KEY: text})  # type: ignore[attr-defined]  # noqa: SLF001
    fsio.publish(path, lambda temporary: torch.save(made, temporary), read_denoiser)


def check_ending(path: Path | str) -> Path:
    """Refuse a name that no weights can be written to, before the training and not after."""
    path = writable(path)
    if path.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{path.name}: weights are written as .pth; choose this ending.", code="E_PATH"
        )
    return path


def _torch() -> Any:
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(
            "Weights of a network are read with torch: pip install 'clgkit[deep]'."
        )
    import torch  # noqa: PLC0415  (an optional extra that takes seconds to load)

    return torch
