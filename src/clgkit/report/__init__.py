"""One self-contained HTML page about a run: figures, numbers, warnings and provenance."""

from clgkit.report.page import build, key_of

__all__ = ["build", "key_of"]
