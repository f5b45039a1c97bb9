"""Small pieces: modules, functions, nesting, arguments; tests as long as the source."""

import ast
from collections.abc import Callable, Iterator

from tests.architecture.sources import (
    BENCHMARKS,
    MODULES,
    TESTS,
    Function,
    calls_of,
    code_lines,
    expect_none,
    functions_of,
    name_of,
    package_of,
    tree_of,
    written_lines,
)

MODULE_LINES = 400
FUNCTION_LINES = 50
NESTING = 4
ARGUMENTS = 8
WRITTEN = [*MODULES, *BENCHMARKS]

Block = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Match


def lines_of(function: Function) -> int:
    """Count the lines of the body, without docstring."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring and len(function.body) > 1 else function.body
    assert body[-1].end_lineno is not None
    return body[-1].end_lineno - body[0].lineno + 1


def arguments_of(function: Function) -> int:
    """Count the arguments, without self and cls."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(argument.arg not in {"self", "cls"} for argument in arguments)


def nesting_of(statements: list[ast.stmt]) -> int:
    """Return how many blocks deep the deepest statement lies; `elif` is no deeper than `if`."""
    return max((1 + _inside(s) for s in statements if isinstance(s, Block)), default=0)


def _inside(block: Block) -> int:
    return max((nesting_of(part) for part in _parts(block)), default=0)


def _parts(block: Block) -> Iterator[list[ast.stmt]]:
    if isinstance(block, ast.Match):
        yield from (case.body for case in block.cases)
        return
    yield block.body
    if isinstance(block, ast.Try):
        yield from (handler.body for handler in block.handlers)
        yield block.finalbody
    alternative: list[ast.stmt] = getattr(block, "orelse", [])
    is_elif = isinstance(block, ast.If) and len(alternative) == 1
    if is_elif and isinstance(alternative[0], ast.If):
        yield from _parts(alternative[0])
    else:
        yield alternative


def over(limit: int, measure: Callable[[Function], int]) -> list[str]:
    """Return a line for every function whose measure is above its limit."""
    found = [(path, f, measure(f)) for path in WRITTEN for f in functions_of(path)]
    return [f"{name_of(p)}:{f.lineno} {f.name}: {n}" for p, f, n in found if n > limit]


def test_a_module_can_be_read_at_one_sitting() -> None:
    sizes = {name_of(path): written_lines(path) for path in WRITTEN}

    expect_none([f"{name}: {size}" for name, size in sizes.items() if size > MODULE_LINES])


def test_a_function_fits_on_a_screen() -> None:
    expect_none(over(FUNCTION_LINES, lines_of))


def test_a_function_is_flat() -> None:
    expect_none(over(NESTING, lambda function: nesting_of(function.body)))


def test_a_function_takes_few_arguments() -> None:
    expect_none(over(ARGUMENTS, arguments_of))


def test_no_function_changes_a_global() -> None:
    found = [(path, node) for path in MODULES for node in ast.walk(tree_of(path))]

    expect_none([f"{name_of(p)}:{n.lineno}" for p, n in found if isinstance(n, ast.Global)])


def test_only_the_command_line_prints() -> None:
    quiet = [path for path in MODULES if package_of(path) != "cli"]

    calls = [(path, *call) for path in quiet for call in calls_of(path)]

    expect_none([f"{name_of(path)}:{call.lineno}" for path, call, name in calls if name == "print"])


def test_no_banner_comments() -> None:
    lines = [(path, line.strip()) for path in MODULES for line in path.read_text().splitlines()]

    banners = ("# ---", "# ===", "###", "# ***")

    expect_none([f"{name_of(path)}: {line}" for path, line in lines if line.startswith(banners)])


def test_there_are_as_many_lines_of_tests_as_of_source() -> None:
    source = sum(code_lines(path) for path in MODULES)
    tests = sum(code_lines(path) for path in TESTS)

    assert tests >= source, f"{tests} lines of tests for {source} lines of source"


def test_nesting_is_counted_as_a_reader_does() -> None:
    text = """
for a in b:
    if a:
        pass
    elif b:
        with c:
            pass
    else:
        pass
try:
    pass
except ValueError:
    if a:
        if b:
            while c:
                pass
"""

    assert nesting_of(ast.parse(text).body) == 4
    assert nesting_of(ast.parse("if a:\n  pass\nelif b:\n  pass").body) == 1
    assert nesting_of(ast.parse("match a:\n  case 1:\n    if b:\n      pass").body) == 2
