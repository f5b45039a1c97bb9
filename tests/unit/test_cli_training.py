"""What the training commands share: going on, saving on the way, refusing noise."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clgkit.cli.training import refuse_noise, resume, sha256, train
from clgkit.errors import DataError


class Counter:
    """A training that counts to five."""

    def __init__(self) -> None:
        self.n = 0
        self.fails_at = 9

    def run(self) -> Iterator[int]:
        while self.n < 5:
            if self.n == self.fails_at:
                raise ValueError("the loss is no number")
            self.n += 1
            yield self.n

    def state(self) -> bytes:
        return bytes([self.n])

    def restore(self, packed: bytes) -> None:
        if len(packed) != 1:
            raise ValueError("the state is of another training")
        self.n = packed[0]


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "net.partial"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 10 s pass at every look at the clock."""
    times = iter(range(0, 10_000, 10))
    monkeypatch.setattr("clgkit.cli.training.time.monotonic", lambda: float(next(times)))


def saved_after(partial: Path, steps: Iterator[int]) -> list[int]:
    """Return what is in the file when the next report comes."""
    seen = [partial.read_bytes()[0] if partial.exists() else 0 for _ in steps]
    return [*seen, partial.read_bytes()[0]]


def test_every_report_is_passed_on(partial: Path) -> None:
    assert list(train(Counter(), partial, every_s=60)) == [1, 2, 3, 4, 5]


def test_a_report_is_told_before_its_state_is_saved_and_the_first_is_saved(partial: Path) -> None:
    assert saved_after(partial, train(Counter(), partial, every_s=60)) == [0, 1, 1, 1, 1, 1]


@pytest.mark.usefixtures("clock")
def test_states_are_saved_when_time_has_passed(partial: Path) -> None:
    # the clock is read at each report and at each saving: 10 s after a saving the next is due
    assert saved_after(partial, train(Counter(), partial, every_s=5)) == [0, 1, 2, 3, 4, 5]
    assert saved_after(partial, train(Counter(), partial, every_s=15))[2:4] == [1, 3]


def test_chosen_reports_are_always_saved(partial: Path) -> None:
    steps = train(Counter(), partial, every_s=60, always=lambda n: n % 2 == 0)

    assert saved_after(partial, steps) == [0, 1, 2, 2, 4, 4]


def test_a_training_that_gives_up_is_told(partial: Path) -> None:
    counter = Counter()
    counter.fails_at = 2

    with pytest.raises(DataError, match="the loss is no number"):
        list(train(counter, partial, every_s=60))
    assert partial.exists()


def test_a_stopped_training_goes_on(partial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Counter(), Counter()
    for n in train(first, partial, every_s=60, always=lambda _: True):
        if n == 4:
            break

    resume(second, partial, lambda: f"step {second.n}")

    assert second.n == 3  # the state of a report is saved after it was told
    assert capsys.readouterr().out == "going on after step 3\n"
    assert list(train(second, partial, every_s=60)) == [4, 5]


def test_the_state_of_another_training_is_told_and_left(
    partial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partial.write_bytes(b"of another")
    counter = Counter()

    resume(counter, partial, lambda: "nothing")

    assert counter.n == 0
    assert capsys.readouterr().err == "starting anew: the state is of another training\n"
    assert partial.read_bytes() == b"of another"


def test_without_a_state_nothing_is_said(partial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume(Counter(), partial, lambda: "nothing")

    assert capsys.readouterr() == ("", "")


def test_noise_is_refused_and_a_picture_is_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)

    with pytest.raises(ValueError, match="looks like noise"):
        refuse_noise(noise)
    refuse_noise(np.add.outer(np.arange(64), np.arange(64)) * 3 + noise // 16)


def test_the_hash_is_sha256() -> None:
    assert sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()
