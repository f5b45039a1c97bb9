"""Ask another program, in an environment of its own, what it makes of arrays."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.harness import FOLDER

Answer: TypeAlias = dict[str, npt.NDArray[Any]]


def python_of(environment: str) -> Path | None:
    """Return the interpreter of an environment (``peers/<environment>.txt``), if there is one."""
    root = Path(os.environ.get("CLGKIT_PEERS", FOLDER.parent / ".venv-peers"))
    found = [root / environment / part for part in ("bin/python", "Scripts/python.exe")]
    return next((path for path in found if path.exists()), None)


def ask(
    environment: str, script: str, *words: str, given: dict[str, npt.NDArray[Any]]
) -> Answer | None:
    """Run ``peers/<script> words... input.npz output.npz``; None if it is missing or fails."""
    python = python_of(environment)
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **given)  # type: ignore[arg-type]
        command = [str(python), str(FOLDER / "peers" / script), *words, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{script} failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(target) as out:
            return {name: out[name] for name in out.files}
