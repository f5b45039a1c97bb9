"""One run folder, one writer: a lock that survives crashes honestly."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from clgkit import fsio
from clgkit.errors import LockedError

NAME = ".lock"
TRIES = 20
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises
    ------
    LockedError
        If another process holds it.  The lock of a process that is dead is taken over.
    """
    path = run / NAME
    me = _who()
    _take(path, me)
    try:
        _sweep(run)
        yield
    finally:
        if _read(path) == me:
            fsio.remove(path)


def _who() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "host": socket.gethostname(),
        "boot": _boot(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _take(path: Path, me: dict[str, Any]) -> None:
    for _ in range(TRIES):
        mine = fsio.temporary_name(path)
        fsio.write_json(mine, me)
        try:
            os.link(mine, path)  # fails if the lock exists, and never leaves half a file
        except FileExistsError:
            holder = _read(path)
            if holder is not None and not _is_dead(holder):
                raise LockedError(_sentence(path, holder)) from None
            _set_aside(path, holder)
        except FileNotFoundError:
            continue  # a new holder swept our file away as a leftover
        else:
            return
        finally:
            fsio.remove(mine)
    raise LockedError(f"{path.parent} is being taken by other runs at this moment; try again.")


def _set_aside(path: Path, holder: dict[str, Any] | None) -> None:
    """Remove a dead lock, unless somebody else took it over meanwhile."""
    aside = fsio.temporary_name(path)
    with suppress(FileNotFoundError):
        path.rename(aside)  # only one process succeeds
        if _read(aside) != holder:
            with suppress(FileExistsError):
                os.link(aside, path)  # it was a live one: put it back
        fsio.remove(aside)


def _sweep(run: Path) -> None:
    """Remove files that dead processes were writing into the run folder."""
    for leftover in run.glob(f"{fsio.TEMPORARY}*"):
        pid = leftover.name.removeprefix(fsio.TEMPORARY).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            fsio.remove(leftover)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False
    if holder.get("boot") != _boot():
        return True
    try:
        return bool(_started(int(holder["pid"])) != holder.get("started"))
    except (psutil.Error, KeyError, ValueError):
        return True


def _boot() -> str:
    """Return what changes when the machine starts again."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return f"{psutil.boot_time() / 60:.0f}"  # to the minute: some systems guess it anew


def _started(pid: int) -> str | None:
    """Return when a process started, in a form that setting the clock does not change.

    None is for a process that has ended and waits to be buried by its parent.
    """
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{process.create_time():.0f}"
    return fields[19]


def _sentence(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path.parent} is locked by process {holder.get('pid')} on {holder.get('host')} since "
        f"{holder.get('since')}. Wait until that run ends; if you are sure that it is dead, "
        f"delete {path}."
    )
