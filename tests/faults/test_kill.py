"""A run that is killed, or whose disk is full, goes on later and gives the same numbers."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgkit import fsio
from clgkit.cli import main
from clgkit.errors import ResourceError
from clgkit.pipeline.store import MANIFEST, Store
from tests.pipeline.tiny import CHAIN, assert_same_numbers, compute, litter, numbers, opened

Clg = Callable[..., tuple[int, str, str]]
KILLS = 20
FULL_DISKS = 15
GRACE_S = 10

posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def run(folder: str) -> None:
    """Compute in a process that was forked after the imports."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    main(["run", folder, "--no-report", "--workers", "2"])


def start(folder: Path) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.preload"])
    process = context.Process(target=run, args=(str(folder),))
    process.start()
    return process


def receipts(folder: Path) -> dict[str, int]:
    """Return finished stage → the inode of its receipt, which a stage done again changes."""
    found = {name: folder / name / MANIFEST for name in CHAIN}
    return {name: path.stat().st_ino for name, path in found.items() if path.exists()}


def assert_truthful(
    folder: Path, expected: dict[str, Any], clg: Clg, *, known: Iterable[str] = ()
) -> None:
    """What is called finished has the right numbers, and nothing unfinished is called whole."""
    store = Store(folder)
    finished = [name for name in CHAIN if store.manifest(name) is not None]
    for name in set(finished) - set(known):
        result = store.result(name)
        for output in result.manifest.outputs:
            np.testing.assert_array_equal(
                result.array(output).values, expected[f"{name}.{output}"], err_msg=output
            )
    code, _, err = clg("verify", folder)
    assert code == (0 if len(finished) == len(CHAIN) else 6)
    for name in set(CHAIN) - set(finished):
        assert f"{name}: incomplete" in err


@posix
def test_f1_a_run_killed_twenty_times_gives_the_same_numbers(
    fish: Path, expected: dict[str, Any], clg: Clg
) -> None:
    rng = np.random.default_rng(20)
    started = time.monotonic()
    whole = start(Path(fish))  # how long it takes here and now, killed at last
    whole.join()
    assert whole.exitcode == 0
    duration = time.monotonic() - started
    for name in CHAIN:
        fsio.remove(fish / name)
    kept: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        process = start(fish)
        process.join(rng.uniform(0.02, 0.35) * duration)
        hit = process.is_alive()
        process.kill()
        process.join()
        kills += hit
        now = receipts(fish)
        assert kept.items() <= now.items()  # finished stages are not done again
        assert_truthful(fish, expected, clg, known=kept)
        if len(now) == len(CHAIN):
            for name in CHAIN:
                fsio.remove(fish / name)
            now = {}
        kept = now
    compute(fish)

    assert_same_numbers(numbers(fish), expected)
    assert kept.items() <= receipts(fish).items()
    assert not list(litter(fish))


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_f2_signals_end_a_run_in_time_and_it_goes_on_later(
    fish: Path, expected: dict[str, Any], number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "clgkit", "run", str(fish), "--no-report"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "correct_motion: not computed" in line:
            break
    process.send_signal(number)
    sent = time.monotonic()
    _, err = process.communicate(timeout=60)

    assert process.returncode == code
    assert time.monotonic() - sent < GRACE_S
    assert "interrupted; run the same command again" in err
    assert "Traceback" not in err
    assert not (fish / ".lock").exists()
    done = receipts(fish)
    assert "normalize_contrast" in done
    assert len(done) < len(CHAIN)
    outcome = compute(fish)
    assert set(outcome.kept) == set(done)
    assert_same_numbers(numbers(fish), expected)


@contextmanager
def full_disk(after: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """From the n-th write on the disk is full; half of each piece still fits."""
    written: list[str] = []
    write_bytes, append = fsio.write_bytes, fsio.Journal.append
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def limited(path: Path, data: bytes, *, durable: bool = False) -> fsio.Written:
        written.append(path.name)
        if len(written) > after:
            with fsio.replacing(path, durable=False) as temporary:
                temporary.write_bytes(data[: len(data) // 2])
                raise full
        return write_bytes(path, data, durable=durable)

    def torn(journal: fsio.Journal, record: object) -> None:
        written.append(journal.path.name)
        if len(written) > after:
            with journal.path.open("ab") as file:
                file.write(b'{"kind":"bl')
            raise full
        append(journal, record)

    with monkeypatch.context() as patched:
        patched.setattr(fsio, "write_bytes", limited)
        patched.setattr(fsio.Journal, "append", torn)
        patched.setattr(os, "fsync", lambda _: None)
        yield written


def test_f3_a_full_disk_stops_cleanly_and_the_run_goes_on_later(
    fish: Path, expected: dict[str, Any], clg: Clg, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(10**9, monkeypatch) as written:
        compute(fish)
    for name in CHAIN:
        fsio.remove(fish / name)
    step = len(written) // FULL_DISKS
    kept: dict[str, int] = {}
    stopped = 0
    while stopped < FULL_DISKS:
        with full_disk(int(step * (0.5 + stopped % 3)), monkeypatch):
            outcome = compute(fish)
        if not outcome.failed:
            break
        stopped += 1
        for error in outcome.failed.values():
            assert isinstance(error, ResourceError)
            assert error.code == "E_DISK"
        assert not [path for path in litter(fish) if path.suffix != ".partial"]
        now = receipts(fish)
        assert kept.items() <= now.items()
        kept = now
    assert_truthful(fish, expected, clg)

    assert stopped > FULL_DISKS // 2
    assert not compute(fish).failed
    assert kept.items() <= receipts(fish).items()
    assert_same_numbers(numbers(fish), expected)
    assert not list(litter(fish))


@pytest.mark.parametrize("after", [0, 1, 5, 30])
def test_f3_a_full_disk_is_told_in_a_sentence(
    fish: Path, clg: Clg, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with full_disk(after, monkeypatch):
        code, _, err = clg("run", fish, "--until", "normalize_contrast", "--no-report")

    assert code == (4 if after < 30 else 0)
    assert code == 0 or "Make room" in err
    assert "Traceback" not in err
    assert not (fish / ".lock").exists()


def test_f10_a_bit_that_flips_is_found_and_mended(
    finished: Path, expected: dict[str, Any], clg: Clg
) -> None:
    rng = np.random.default_rng(0)
    files = [finished / name / file for name in CHAIN
             for file in opened(finished).store.result(name).manifest.files]  # fmt: skip
    hurt = [files[number] for number in rng.choice(len(files), 10, replace=False)]
    for path in hurt:
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)

    code, _, err = clg("verify", finished)

    assert code == 6
    assert all(path.name in err for path in hurt)
    assert err.count("has changed (checksum)") == len(hurt)
    code, _, err = clg("run", finished, "--check", "--no-report")
    assert code == 0
    assert_same_numbers(numbers(finished), expected)
    assert clg("verify", finished)[0] == 0
