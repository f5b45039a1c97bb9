"""The command line: ``clg`` and one command per stage."""

from clgkit.cli.entry import main

__all__ = ["main"]
