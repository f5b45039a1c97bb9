"""One run folder, one writer."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from clgkit import fsio
from clgkit.errors import LockedError
from clgkit.pipeline import lock
from clgkit.pipeline.lock import NAME, locked

HOLD = """
import sys
from pathlib import Path
from clgkit.errors import LockedError
from clgkit.pipeline.lock import locked
print("ready", flush=True)
while run := sys.stdin.readline().strip():
    try:
        with locked(Path(run)):
            print("won", flush=True)
            sys.stdin.readline()
    except LockedError as error:
        print("lost", flush=True)
        sys.stdin.readline()
"""


class Contender:
    """Another process that takes locks when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.told, self.says = self.process.stdin, self.process.stdout
        assert self.hear() == "ready"

    def tell(self, text: str) -> None:
        self.told.write(f"{text}\n")
        self.told.flush()

    def hear(self) -> str:
        return self.says.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.told.close()
        self.says.close()


@pytest.fixture
def contenders() -> Iterator[list[Contender]]:
    pair = [Contender(), Contender()]
    yield pair
    for contender in pair:
        contender.end()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    contender = Contender()
    contender.tell(str(tmp_path))
    assert contender.hear() == "won"
    yield contender.process
    contender.end()


def rewritten(folder: Path, **changes: Any) -> None:
    path = folder / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def takes(folder: Path) -> bool:
    try:
        with locked(folder):
            assert json.loads((folder / NAME).read_text())["pid"] == os.getpid()
            return True
    except LockedError:
        return False


def test_the_lock_is_gone_afterwards(tmp_path: Path) -> None:
    assert takes(tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_live_lock_is_respected_and_its_holder_named(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(LockedError) as caught, locked(tmp_path):
        pass

    assert f"process {holder.pid} on {socket.gethostname()} since 20" in caught.value.message
    assert caught.value.exit_code == 5
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_lock_of_a_killed_process_is_taken_over(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    deadline = time.monotonic() + 20
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline

    assert takes(tmp_path)  # though nobody has buried it yet
    holder.wait()


def test_after_a_restart_of_the_machine_the_lock_is_taken_over(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.poll() is None
    rewritten(tmp_path, boot="another")

    assert takes(tmp_path)


def test_another_process_with_the_same_number_does_not_count(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.poll() is None
    rewritten(tmp_path, started="1")

    assert takes(tmp_path)


def test_a_lock_of_another_host_is_never_taken_over(tmp_path: Path) -> None:
    with locked(tmp_path):
        rewritten(tmp_path, host="elsewhere", pid=2**22 + 5)
        assert not takes(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_lock_that_cannot_be_read_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)

    assert takes(tmp_path)


def test_a_lock_taken_by_another_meanwhile_is_put_back(tmp_path: Path) -> None:
    with locked(tmp_path):
        lock._set_aside(tmp_path / NAME, {"pid": 1})

        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("dead_lock", [False, True])
def test_of_two_that_start_at_once_exactly_one_wins(
    tmp_path: Path, contenders: list[Contender], *, dead_lock: bool
) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        if dead_lock:
            with locked(folder):
                content = (folder / NAME).read_text()
            (folder / NAME).write_text(content)
            rewritten(folder, started="1")

        for contender in contenders:
            contender.tell(str(folder))

        assert sorted(contender.hear() for contender in contenders) == ["lost", "won"]
        for contender in contenders:
            contender.tell("")


def test_leftovers_of_dead_processes_are_swept_away(tmp_path: Path) -> None:
    dead = tmp_path / f"{fsio.TEMPORARY}{2**22 + 5}-0-run.toml"
    live = tmp_path / f"{fsio.TEMPORARY}{os.getpid()}-0-run.toml"
    for path in (dead, live):
        path.write_text("half")

    assert takes(tmp_path)

    assert list(tmp_path.iterdir()) == [live]


def test_without_proc_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BOOT_ID", Path("/nowhere"))

    assert float(lock._boot()) == pytest.approx(psutil.boot_time() / 60, abs=1)
