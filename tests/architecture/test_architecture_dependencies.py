"""What is imported is declared, what is declared is pinned, and nothing is left over."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.architecture.sources import MODULES, ROOT, expect_none, imports_of, name_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Loaded by another package, not by us: codecs of tifffile.
INDIRECT = {"imagecodecs"}


def normal(requirement: str) -> str:
    """Return the name of a requirement as the package index spells it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def declared() -> dict[str, set[str]]:
    """Return core and extras → names of packages."""
    extras = PROJECT["project"]["optional-dependencies"]
    sections = {"core": PROJECT["project"]["dependencies"], **extras}
    return {name: {normal(line) for line in lines} for name, lines in sections.items()}


def pins() -> dict[str, str]:
    """Return package → exact version."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def imported() -> dict[str, str]:
    """Return foreign package → a place that imports it."""
    found: dict[str, str] = {}
    for path in MODULES:
        for line, name in imports_of(path):
            top = name.split(".")[0]
            if top and top not in sys.stdlib_module_names | {"clgkit"}:
                found.setdefault(top, f"{name_of(path)}:{line}")
    return found


def test_every_import_is_declared() -> None:
    known = set().union(*declared().values())
    distributions = packages_distributions()

    found = [
        f"{place} imports {top}, which pyproject.toml does not name"
        for top, place in imported().items()
        if not {normal(d) for d in distributions.get(top, [top])} & known
    ]

    expect_none(found)


def test_no_dependency_of_the_core_is_unused() -> None:
    distributions = packages_distributions()
    used = {normal(d) for top in imported() for d in distributions.get(top, [top])}

    expect_none(sorted(declared()["core"] - used - INDIRECT))


def test_everything_that_is_declared_is_pinned() -> None:
    groups = PROJECT["dependency-groups"].values()
    wanted = set().union(*declared().values(), *({normal(r) for r in group} for group in groups))

    assert not wanted - set(pins()) - {"clgkit"}


def test_pins_are_exact_and_sorted() -> None:
    assert all(re.fullmatch(r"\d[\w.!-]*", version) for version in pins().values())
    assert list(pins()) == sorted(pins())


def test_bounds_are_lower_bounds() -> None:
    lines = PROJECT["project"]["dependencies"]

    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+>=[\d.]+", line)]


def test_no_file_of_the_project_names_a_host_of_packages() -> None:
    hosts = re.compile(r"pypi\.org|pythonhosted|index-url|extra-index|find-links", re.IGNORECASE)
    names = ["Makefile", ".ci/run", "constraints.txt", "pyproject.toml", "README.md"]

    assert not [name for name in names if hosts.search((ROOT / name).read_text(encoding="utf-8"))]
