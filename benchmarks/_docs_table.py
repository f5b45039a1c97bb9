"""Write the tables of ``docs/benchmarks.md`` anew: ``python -m benchmarks._docs_table``.

A table stands between two comments, ``<!-- figures: registration -->`` and ``<!-- end -->``, and
is made of the rows that the last run of that package left in ``benchmarks/results``.  A package
without results of the full size keeps its table.
"""

import json
import re
from pathlib import Path

from benchmarks.harness import FOLDER, RESULTS, Row, figures_of
from clgkit import fsio

PAGE = FOLDER.parent / "docs" / "benchmarks.md"
TABLE = re.compile(r"<!-- figures: (?P<package>\w+) -->\n.*?<!-- end -->", re.DOTALL)
HEAD = "| figure | what | unit | ours | peer | value | ratio | target | met |\n" + "|---" * 9 + "|"


def rows_of(package: str) -> list[tuple[str, Row]]:
    """Return the figures of the last full run with their names; none without one."""
    path = RESULTS / f"{package}.jsonl"
    if not path.exists():
        return []
    rows: list[Row] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if any(row["size"] != "full" for row in rows):
        return []
    names = [name.removeprefix("figure_") for name, _ in figures_of(package)]
    if len(names) != len(rows):
        raise ValueError(
            f"{path.name} holds {len(rows)} rows, {package} has {len(names)} figures; run "
            f"`python -m benchmarks --only {package}` again."
        )
    return list(zip(names, rows, strict=True))


def table(named: list[tuple[str, Row]]) -> str:
    """Return rows as a table, with processor and date above it."""
    first = named[0][1]
    days = sorted({str(row["date"])[:10] for _, row in named})
    lines = [f"{first['processor']}, {first['cores']} cores, {' and '.join(days)}.", "", HEAD]
    for name, row in named:
        peer = row["peer"] or "-"
        cells = [
            f"`{name}`",
            row["figure"],
            row["unit"],
            _number(row["ours"]),
            peer,
            _number(row["peer_value"]),
            _number(row["ratio"]),
            _target(row),
            "yes" if row["met"] else "**no**",
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def renewed(page: str) -> str:
    """Return the page with every table whose package has results made anew."""

    def written(found: re.Match[str]) -> str:
        named = rows_of(found["package"])
        if not named:
            return found[0]
        return f"<!-- figures: {found['package']} -->\n{table(named)}\n<!-- end -->"

    return TABLE.sub(written, page)


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _target(row: Row) -> str:
    value = _number(row["target"])
    return f"{value} times" if row["peer"] else value


def main(page: Path = PAGE) -> None:
    """Renew the page."""
    fsio.write_text(page, renewed(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
