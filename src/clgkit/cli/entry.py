"""The way in: commands are found without importing what they need, errors become sentences."""

from __future__ import annotations

import difflib
import errno
import importlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from clgkit.errors import ClgError, DataError, ResourceError
from clgkit.stages import STAGES

if TYPE_CHECKING:
    from types import FrameType

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
OF_A_RUN = {
    "init": "Write the settings file of a new run folder.",
    "run": "Compute whatever of a run is not there yet.",
    "status": "Show what is there, what is missing and why.",
    "report": "Write the HTML report of a run.",
    "export": "Write traces, network and tables of a run as files for other programs.",
    "verify": "Read every stored result and compare checksums.",
    "settings": "Print every setting with its default and meaning.",
    "stages": "List the stages: what each needs and gives.",
    "simulate": "Make a fish with known answers.",
    "demo": "Simulate a fish, run everything, and compare with the truth.",
    "doctor": "Check this installation and machine.",
}
OF_LABELS = {
    "score-labels": "Compare labels with the truth, object by object.",
    "tidy-labels": "Put ids and shapes of labels in order; the map of ids is kept.",
    "train-cellpose": "Train a Cellpose network on slices of yours.",
    "train-nuclei": "Adapt the network of nuclei to tissue of yours.",
    "train-denoiser": "Train a network on the movie it is to denoise.",
}
COMMANDS = OF_A_RUN | OF_LABELS
HELP = """Count every neuron once: label-guided calcium imaging, from raw stacks to networks.

A run folder holds one settings file (run.toml) and one folder per finished stage:

\b
    clg init fish1          write fish1/run.toml; fill in where your data are
    clg run fish1           compute; continues after an interruption
    clg status fish1        what is there, and why something is not current

Each stage is a command of its own on plain files too; `clg STAGE --help` shows how.
To see it all work on a simulated fish: clg demo demo
"""


def closest(word: str, known: list[str]) -> str | None:
    """Return the known word that looks most like `word`, if any does."""
    matches = difflib.get_close_matches(word, known, n=1)
    return matches[0] if matches else None


class LazyGroup(click.Group):
    """Commands whose modules are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's)
        """Return all names, run commands first."""
        return [*COMMANDS, *(name.replace("_", "-") for name in STAGES)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command that knows its help line only; see `resolve_command`."""
        name = cmd_name.replace("-", "_")
        if name in STAGES:
            return click.Command(cmd_name, help=STAGES[name].summary)
        if cmd_name in COMMANDS:
            return click.Command(cmd_name, help=COMMANDS[cmd_name])
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the whole command that is called; of an unknown one say what looks like it."""
        known = self.list_commands(ctx)
        close = closest(args[0].replace("_", "-"), known)
        if close and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {close}?")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List run commands and stages apart."""
        width = formatter.width
        for title, names in (
            ("A run", OF_A_RUN),
            ("Labels and networks", OF_LABELS),
            ("Stages, on plain files", [name.replace("_", "-") for name in STAGES]),
        ):
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name, command.get_short_help_str(width)))
            with formatter.section(title):
                formatter.write_dl(rows)


def load(name: str) -> click.Command:
    """Return a command with all its options."""
    stage = name.replace("-", "_")
    if stage in STAGES:
        made: click.Command = importlib.import_module("clgkit.cli.plain").command(stage)
        return made
    found: click.Command = importlib.import_module(f"clgkit.cli.{stage}").command
    return found


@click.group(cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clgkit", prog_name="clg")
def app() -> None:
    """Group all commands."""


class Stopped(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of what happened.

    0 done · 1 a bug of clgkit · 2 usage · 3 bad input · 4 disk, memory or workers ·
    5 locked by another run · 6 incomplete or damaged · 130, 143 interrupted.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    try:
        code = app.main(args, prog_name="clg", standalone_mode=False)
    except (ClgError, OSError, MemoryError) as error:
        code = _told(as_clg_error(error))
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = _interrupted(130)
    except Stopped as stopped:
        code = _interrupted(stopped.code)
    except Exception:  # noqa: BLE001  (anything else is our bug, and is reported as one)
        code = _bug()
    sys.exit(code if isinstance(code, int) else 0)


def as_clg_error(error: Exception) -> ClgError:
    """Return what the system refused as an error that a user can mend."""
    if isinstance(error, ClgError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError(
            "There is not enough memory. Run again with fewer workers (--workers 1) or less "
            "memory for blocks (--memory-mb); finished blocks are kept.",
            code="E_MEMORY",
        )
    if isinstance(error, OSError) and error.errno in DISK:
        return ResourceError(
            f"Writing failed: {error}. Make room (or check the disk) and run again.", code="E_DISK"
        )
    return DataError(f"A file or folder cannot be used: {error}.", code="E_PATH")


def _told(error: ClgError) -> int:
    click.echo(f"error: {error.message}", err=True)
    return error.exit_code


def _interrupted(code: int) -> int:
    click.echo("interrupted; run the same command again to go on", err=True)
    return code


def _bug() -> int:
    click.echo(traceback.format_exc(), err=True)
    click.echo("This is a bug of clgkit. Please report it with the lines above.", err=True)
    return 1


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  (handlers take it)
    raise Stopped(number)
