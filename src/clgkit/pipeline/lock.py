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
        yield
    finally:
        if _read(path) == me:
            fsio.remove(path)


def _who() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "boot": psutil.boot_time(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _take(path: Path, me: dict[str, Any]) -> None:
    for _ in range(3):
        mine = fsio.temporary_name(path)
        fsio.write_json(mine, me)
        try:
            os.link(mine, path)  # fails if the lock exists, and never leaves half a file
        except FileExistsError:
            holder = _read(path)
            if holder is not None and not _is_dead(holder):
                raise LockedError(_sentence(path, holder)) from None
            _set_aside(path, holder)
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


def _read(path: Path) -> dict[str, Any] | None:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _is_dead(holder: dict[str, Any]) -> bool:
    me = _who()
    if holder.get("host") != me["host"]:
        return False
    if abs(float(holder.get("boot", 0)) - me["boot"]) > 60:
        return True
    try:
        started = float(psutil.Process(int(holder["pid"])).create_time())
    except (psutil.Error, KeyError, ValueError):
        return True
    return abs(started - float(holder.get("started", 0))) > 1


def _sentence(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path.parent} is locked by process {holder.get('pid')} on {holder.get('host')} since "
        f"{holder.get('since')}. Wait until that run ends; if you are sure that it is dead, "
        f"delete {path}."
    )
