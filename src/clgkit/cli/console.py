"""What the user sees while work is done: progress with time left, tables, a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from clgkit import fsio

if TYPE_CHECKING:
    from clgkit.errors import ClgError

LOG = "log.jsonl"
QUIET_S = 10.0
LONG_S = 3600


class Progress:
    """Shows how far a stage is: one moving line, or plain lines where there is no terminal."""

    def __init__(self) -> None:
        self.label = ""
        self.started = 0.0
        self.shown = 0.0
        self.done_at_start = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        """Take note of progress; called by the workspace."""
        now = time.monotonic()
        if label != self.label or done < self.done_at_start:
            self.label, self.started, self.shown, self.done_at_start = label, now, now, done
        live = sys.stderr.isatty()
        if total > 1 and (live or (now - self.shown > QUIET_S and done < total)):
            self.shown = now
            text = f"  {label}: {done} of {total} blocks{self._left(now, done, total)}"
            end = "\r" if live and done < total else "\n"
            sys.stderr.write(f"\x1b[2K{text}{end}" if live else text + end)
            sys.stderr.flush()

    def _left(self, now: float, done: int, total: int) -> str:
        fresh = done - self.done_at_start
        if fresh < 1 or done == total:
            return ""
        seconds = (now - self.started) / fresh * (total - done)
        return f", {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a time span for people: ``48 s``, ``12 min``, ``3.4 h``."""
    if seconds < 99:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < LONG_S else f"{seconds / LONG_S:.1f} h"


class JsonLines(logging.Handler):
    """Writes every log record as one JSON line into the run folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.DEBUG)
        self.journal = fsio.Journal(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if hasattr(record, "code"):
            entry["code"] = record.code
        if record.exc_info:
            entry["trace"] = logging.Formatter().formatException(record.exc_info)
        try:
            self.journal.append(entry)
        except OSError as error:
            sys.stderr.write(f"the log could not be written: {error}\n")


@contextmanager
def logging_to(folder: Path) -> Iterator[Callable[[ClgError], None]]:
    """Send the log to the console and, as JSON lines, into a run folder.

    Gives a function that notes an error in the file alone: the console shows it at the end.
    """
    logger = logging.getLogger("clgkit")
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    lines = JsonLines(folder / LOG)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    for handler in (console, lines):
        logger.addHandler(handler)

    def note(error: ClgError) -> None:
        entry = {"levelno": logging.ERROR, "levelname": "ERROR", "msg": error.message}
        lines.emit(logging.makeLogRecord({**entry, "code": error.code}))

    try:
        yield note
    finally:
        logger.setLevel(level)
        for handler in (console, lines):
            logger.removeHandler(handler)


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to the standard output; square brackets and colons stay what they are."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=120, markup=False, emoji=False)
    console.print(table)
