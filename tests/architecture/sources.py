"""The source tree as the architecture tests see it: files, syntax trees, counted lines."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "clgkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

# Packages that are no workshops: doors, the simulator (it writes a fish), stages and above.
UPSTAIRS = {"io", "simulate", "stages", "pipeline", "cli", "report", "app", "viewer"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Return the path as it is read in a message."""
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    """Return the package on the floor plan a module lies in; "" for the ground floor."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


ALGORITHMS = [p for p in MODULES if package_of(p) and package_of(p) not in UPSTAIRS]


def expect_none(found: list[str]) -> None:
    """Fail with every line of `found`."""
    assert not found, "\n".join(["", *found])


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def written_lines(path: Path) -> int:
    """Count the lines that are neither blank nor a comment."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def code_lines(path: Path) -> int:
    """Count the lines that are neither blank, nor a comment, nor a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    text = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            assert docstring.end_lineno is not None
            for number in range(docstring.lineno - 1, docstring.end_lineno):
                text[number] = ""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text)


def functions_of(path: Path) -> Iterator[Function]:
    """Yield every function and method."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, Function):
            yield node


def calls_of(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with the dotted name of what is called."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of an expression; what is no name becomes ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that is imported, lazily or not."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node.lineno, module
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
