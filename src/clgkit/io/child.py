"""Run a writer in a child process: on a full disk the HDF5 library kills its process.

The arrays travel as ``.npy`` files beside the target, so nothing is pickled and the child
needs no copy of the caller's script.  The child writes, reads back and compares; the
parent renames.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clgkit import fsio
from clgkit.errors import ClgError, ResourceError, StoreError

WRITERS: Final = {"hdf5": "clgkit.io.hdf5", "mat73": "clgkit.io.mat73"}
"""Format → the module whose `write(path, arrays)` makes, re-reads and compares the file."""


def write_in_child(path: Path, form: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write `arrays` to `path` in a child process; the old file stays if anything fails.

    Parameters
    ----------
    path
        Target; its folder must exist.
    form
        ``hdf5`` or ``mat73``.
    arrays
        Name → values.

    Raises
    ------
    ResourceError
        ``E_DISK``: the disk is too small.
    StoreError
        The child died, or the file did not read back as written.
    """
    needed = sum(values.nbytes for values in arrays.values())
    free = shutil.disk_usage(path.parent).free
    if free < 2 * needed:
        raise ResourceError(
            f"{path.name} needs {2 * needed} bytes while it is written, but {free} are free in "
            f"{path.parent}. Make room and try again.",
            code="E_DISK",
        )
    folder = fsio.temporary_name(path.with_name(f"{path.stem}.parts"))
    folder.mkdir()
    try:
        for i, values in enumerate(arrays.values()):
            fsio.publish(folder / f"{i}.npy", _saver(values), lambda _: None)
        with fsio.replacing(path) as temporary:
            job = {"form": form, "names": list(arrays), "target": temporary.name}
            fsio.write_json(folder / "job.json", job)
            _run(folder, path)
    finally:
        fsio.remove(folder)


def _saver(values: npt.NDArray[Any]) -> Any:
    return lambda temporary: np.save(temporary, values, allow_pickle=False)


def _run(folder: Path, path: Path) -> None:
    done = subprocess.run(  # noqa: S603  (our own module, no shell)
        # -P: a numpy.py in the working folder is not ours to run
        [sys.executable, "-P", "-m", "clgkit.io.child", str(folder.resolve())],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"it ended with code {done.returncode}"
        raise StoreError(
            f"{path} was not written: {why}. Is the disk full? Nothing was changed; try again."
        )


def main(folder: Path) -> int:
    """Do the job described in `folder`; 0 if the file is whole."""
    job = json.loads((folder / "job.json").read_text())
    names = job["names"]
    arrays = {name: np.load(folder / f"{i}.npy", mmap_mode="r") for i, name in enumerate(names)}
    writer = import_module(WRITERS[job["form"]])
    try:
        writer.write(folder.parent / job["target"], arrays)
    except (ClgError, OSError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
