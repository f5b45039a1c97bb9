"""Print a row per figure: ``python -m benchmarks [--only PACKAGE] [--toy]``."""

import argparse

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row, Size, packages, run

COLUMNS = ("package", "figure", "unit", "ours", "peer", "peer_value", "ratio", "target", "met")


def main() -> None:
    """Measure what the arguments name and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=packages(), help="one package instead of all")
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    arguments = parser.parse_args()
    size: Size = "toy" if arguments.toy else "full"
    table = Table(*COLUMNS)
    for package in [arguments.only] if arguments.only else packages():
        for row in run(package, size):
            table.add_row(package, *(_text(row, column) for column in COLUMNS[1:]))
    Console(width=None if Console().is_terminal else 160).print(table)


def _text(row: Row, column: str) -> str:
    value = row[column]
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
