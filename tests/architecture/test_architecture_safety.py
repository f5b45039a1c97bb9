"""Files are written through fsio alone; nothing from outside is executed."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import (
    MODULES,
    PACKAGE,
    calls_of,
    dotted,
    expect_none,
    name_of,
    tree_of,
)

WRITERS = [path for path in MODULES if path != PACKAGE / "fsio.py"]

# A library may write to a path that `fsio.replacing` gave, or into memory.  By convention
# the first is called `temporary`, the second `buffer`; nothing else is written to.
ALLOWED_TARGETS = {"temporary", "buffer"}

WRITING_METHODS = {"tofile", "savefig", "to_csv", "to_parquet", "to_netcdf", "to_hdf", "to_json"}
WRITING_FUNCTIONS = {
    "save", "savez", "savez_compressed", "savetxt", "savemat", "imwrite", "imsave", "TiffWriter",
    "write_graphml", "write_gml", "write_gexf", "write_edgelist",
}  # fmt: skip
LIBRARIES = {"np", "numpy", "tifffile", "scipy.io", "sio", "plt", "nx", "networkx", "torch", "io"}
FILE_FUNCTIONS = {
    "os.rename", "os.replace", "os.remove", "os.unlink", "os.truncate", "os.mkdir", "os.makedirs",
    "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
    "shutil.rmtree", "json.dump",
}  # fmt: skip
PATH_METHODS = {"write_text", "write_bytes", "unlink", "rmdir", "symlink_to", "hardlink_to"}
EXECUTED = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.dump",
    "pickle.dumps", "joblib.load", "joblib.dump", "multiprocessing.Pool", "mp.Pool", "Pool",
    "yaml.load", "marshal.loads", "shelve.open",
}  # fmt: skip
# Name → place and default of the mode among the arguments.
OPENERS = {
    **dict.fromkeys(("open", "io.open", "gzip.open", "lzma.open", "bz2.open"), (1, "r")),
    **dict.fromkeys(("h5py.File", "zipfile.ZipFile", "tarfile.open"), (1, "r")),
    **dict.fromkeys(("np.memmap", "numpy.memmap"), (2, "r+")),
    **dict.fromkeys(("np.lib.format.open_memmap", "open_memmap"), (1, "r+")),
}
# Where the target does not stand first.
TARGET_PLACES = {"torch.save": 1}
FORBIDDEN_KEYWORDS = {"shell": True, "allow_pickle": True, "weights_only": False}


def mode_of(call: ast.Call, *, position: int, default: str) -> str:
    """Return the mode a file is opened with; "?" if it is not written there as a text."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}.get("mode")
    if given is None:
        given = call.args[position] if len(call.args) > position else ast.Constant(default)
    is_text = isinstance(given, ast.Constant) and isinstance(given.value, str)
    return str(given.value) if is_text and isinstance(given, ast.Constant) else "?"


def writes(mode: str) -> bool:
    """Say whether a file opened like this may change."""
    return bool(set(mode) & set("wax+?"))


def base_of(node: ast.expr) -> str:
    """Return the first name of an expression: ``temporary`` of ``temporary / "a.tif"``."""
    while True:
        if isinstance(node, ast.BinOp):
            node = node.left
        elif isinstance(node, ast.Call) and node.args:
            node = node.args[0]
        else:
            return dotted(node).split(".")[0]


def written_target(call: ast.Call, name: str) -> str | None:
    """Return what a call writes to, or None if it writes nothing."""
    owner, _, last = name.rpartition(".")
    place = TARGET_PLACES.get(name, 0)
    target = base_of(call.args[place]) if len(call.args) > place else "?"
    if name in OPENERS:
        position, default = OPENERS[name]
        return target if writes(mode_of(call, position=position, default=default)) else None
    if name in FILE_FUNCTIONS:
        return "?"
    if last in WRITING_METHODS or (last in WRITING_FUNCTIONS and owner in LIBRARIES | {""}):
        return target
    if isinstance(call.func, ast.Attribute):
        return _written_by_method(call, call.func, owner)
    return None


def _written_by_method(call: ast.Call, method: ast.Attribute, owner: str) -> str | None:
    mode = mode_of(call, position=0, default="r")
    looks_like_a_mode = set(mode) <= set("rwaxbt+")  # else it is the member of an archive
    if method.attr == "open" and looks_like_a_mode and writes(mode):
        return base_of(method.value)
    if method.attr in PATH_METHODS and owner != "fsio":
        return base_of(method.value)
    return None


def allowed_targets(path: Path) -> set[str]:
    """Return the names a module may write to: those by convention and files opened on them."""
    allowed = set(ALLOWED_TARGETS)
    for node in ast.walk(tree_of(path)):
        for item in getattr(node, "items", []):
            opened, name = item.context_expr, item.optional_vars
            if isinstance(opened, ast.Call) and isinstance(name, ast.Name):
                target = written_target(opened, dotted(opened.func))
                if target in allowed or dotted(opened.func).endswith("replacing"):
                    allowed.add(name.id)
    return allowed


def calls(paths: list[Path]) -> list[tuple[str, ast.Call, str]]:
    """Return place, call and called name of every call."""
    found = [(path, call, name) for path in paths for call, name in calls_of(path)]
    return [(f"{name_of(path)}:{call.lineno}", call, name) for path, call, name in found]


def test_files_are_written_through_fsio_alone() -> None:
    found = []
    for path in WRITERS:
        allowed = allowed_targets(path)
        for place, call, name in calls([path]):
            target = written_target(call, name)
            if target is not None and target not in allowed:
                found.append(f"{place} {name} writes to {target}")

    expect_none(found)


def test_nothing_from_outside_is_executed() -> None:
    expect_none([f"{place} {name}" for place, _, name in calls(MODULES) if name in EXECUTED])


def test_no_pickle_and_no_shell_by_keyword() -> None:
    keywords = [(place, keyword) for place, call, _ in calls(MODULES) for keyword in call.keywords]

    found = [
        f"{place} {keyword.arg}={keyword.value.value}"
        for place, keyword in keywords
        if isinstance(keyword.value, ast.Constant)
        and FORBIDDEN_KEYWORDS.get(keyword.arg or "", ...) is keyword.value.value
    ]

    expect_none(found)


def test_randomness_has_a_seed() -> None:
    drawn = [(place, call) for place, call, name in calls(MODULES) if name.endswith("default_rng")]

    expect_none([place for place, call in drawn if not call.args and not call.keywords])


def test_no_assert_validates() -> None:
    nodes = [(path, node) for path in MODULES for node in ast.walk(tree_of(path))]

    expect_none([f"{name_of(p)}:{n.lineno}" for p, n in nodes if isinstance(n, ast.Assert)])


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ('open(path, "w")', "path"),
        ("open(path)", None),
        ('open(path, mode="rb")', None),
        ("open(path, mode)", "path"),
        ('open(path, "x")', "path"),
        ('path.open("ab")', "path"),
        ('path.open("rb")', None),
        ('temporary.open("wb")', "temporary"),
        ('(temporary / "a").open("wb")', "temporary"),
        ("np.save(path, array)", "path"),
        ("np.save(temporary, array)", "temporary"),
        ('tifffile.imwrite(folder / "a.tif", array)', "folder"),
        ("figure.savefig(buffer)", "buffer"),
        ("figure.savefig(str(path))", "path"),
        ('h5py.File(path, "w")', "path"),
        ('h5py.File(path, "r")', None),
        ("array.tofile(path)", "path"),
        ("np.memmap(path, dtype)", "path"),
        ('np.memmap(path, dtype, mode="r")', None),
        ("archive.open(member)", None),
        ('archive.open("a.npy")', None),
        ("path.write_text(text)", "path"),
        ("fsio.write_text(path, text)", None),
        ("write_json(path, value)", None),
        ("os.replace(a, b)", "?"),
        ("text.replace(a, b)", None),
    ],
)
def test_a_write_is_recognised(line: str, target: str | None) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)

    assert written_target(call, dotted(call.func)) == target
