"""Laws of the doors: whatever is written reads back, and any slice equals numpy's."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clgkit.data import Network
from clgkit.io import (
    PlaneMap,
    TraceBundle,
    open_image,
    read_network,
    read_planemap,
    read_traces,
    write_csv,
    write_network,
    write_planemap,
    write_tiff,
    write_traces,
)
from clgkit.io.pixels import View

DTYPES = st.sampled_from(["uint8", "int16", "uint16", "uint32", "float32", "float64"])
few = settings(deadline=None, max_examples=25)


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray[Any, np.dtype[Any]]:
    shape = draw(st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(2, 6)] * 2))
    return draw(hnp.arrays(draw(DTYPES), shape, elements={"min_value": 0, "max_value": 200}))


def slices(size: int) -> st.SearchStrategy[slice]:
    return st.slices(size)


@few
@given(stacks(), st.data(), st.sampled_from([None, "zlib"]))
def test_any_slice_of_a_tiff_equals_numpys(
    stack: np.ndarray[Any, np.dtype[Any]], data: st.DataObject, compression: str | None
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        write_tiff(path, stack, axes="tzyx", compression=compression)
        image = open_image(path, axes="tzyx")
        key = data.draw(st.tuples(*(slices(size) for size in stack.shape)))
        np.testing.assert_array_equal(image.pixels[key], stack[key])
        assert image.pixels.dtype == stack.dtype


@few
@given(stacks(), st.data())
def test_any_slice_of_a_rearranged_view_equals_numpys(
    stack: np.ndarray[Any, np.dtype[Any]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations([0, 1, 2, 3, None]))
    fixed = data.draw(st.sampled_from([None, 0, 1, 2, 3]))
    kept = tuple(axis for axis in order if fixed is None or axis != fixed)
    index = 0 if fixed is None else data.draw(st.integers(0, stack.shape[fixed] - 1))
    view = View(stack, kept, () if fixed is None else ((fixed, index),))
    taken = stack if fixed is None else stack.take([index], axis=fixed)
    rest = [fixed] if fixed is not None else []
    moved = taken.transpose([axis for axis in kept if axis is not None] + rest)
    expected = moved[..., 0] if fixed is not None else moved
    expected = np.expand_dims(expected, kept.index(None))
    key = data.draw(st.tuples(*(slices(size) for size in expected.shape)))
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view[key], expected[key])


@few
@given(stacks(), st.data())
def test_any_slice_of_a_folder_of_planes_equals_numpys(
    stack: np.ndarray[Any, np.dtype[Any]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        for plane in range(stack.shape[1]):
            path = Path(folder) / f"z_{plane + 1:02d}.tif"
            tifffile.imwrite(path, stack[:, plane], metadata=None, photometric="minisblack")
        image = open_image(folder)
        key = data.draw(st.tuples(*(slices(size) for size in stack.shape)))
        np.testing.assert_array_equal(image.pixels[key], stack[key])


@few
@given(st.dictionaries(st.integers(0, 99), st.integers(0, 9), min_size=1), st.booleans())
def test_any_plane_map_reads_back(steps: dict[int, int], falling: bool) -> None:  # noqa: FBT001  (drawn)
    planes = np.array(sorted(steps))
    slices_ = np.cumsum([steps[plane] + 1 for plane in planes.tolist()])
    made = PlaneMap(planes, slices_[::-1].copy() if falling else slices_)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.txt"
        write_planemap(path, made)
        again = read_planemap(path)
    np.testing.assert_array_equal(again.plane, made.plane)
    np.testing.assert_array_equal(again.slice, made.slice)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    n = draw(st.integers(0, 8))
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    chosen = sorted(draw(st.sets(st.sampled_from(pairs))) if pairs else [])
    weighted = draw(st.booleans())
    numbers = st.floats(width=32, allow_nan=True)
    values = [draw(numbers) for _ in chosen] if weighted else []
    ends = np.array([*chosen, *((j, i) for i, j in chosen)], dtype=np.int64).reshape(-1, 2)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    ids = draw(st.lists(st.integers(0, 2**32 - 1), min_size=n, max_size=n, unique=True))
    return Network(
        np.concatenate([[0], np.cumsum(np.bincount(ends[:, 0], minlength=n)[:n])]).astype(np.int64),
        ends[order, 1].astype(np.int32),
        np.array(ids, dtype=np.uint32),
        np.array([*values, *values], np.float32)[order] if weighted else None,
        draw(st.none() | hnp.arrays(np.float64, (n, 3))),
    )


@few
@given(networks(), st.sampled_from([".gt", ".graphml", ".npz", ".csv", ".csv.gz"]))
def test_any_network_reads_back(network: Network, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_network(path, network)
        again = read_network(path).network
    assert again.n_edges == network.n_edges
    if "csv" in suffix:
        assert set(again.node_ids) <= set(network.node_ids)
        return
    np.testing.assert_array_equal(again.indptr, network.indptr)
    np.testing.assert_array_equal(again.indices, network.indices)
    np.testing.assert_array_equal(again.node_ids, network.node_ids)
    if network.n_edges:
        np.testing.assert_array_equal(again.weights, network.weights)  # type: ignore[arg-type]
    if network.n_nodes:
        np.testing.assert_array_equal(again.position_um, network.position_um)  # type: ignore[arg-type]


@few
@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from([".npz", ".mat"]), st.data())
def test_any_bundle_reads_back(n: int, n_frames: int, suffix: str, data: st.DataObject) -> None:
    made = TraceBundle(
        data.draw(hnp.arrays(data.draw(DTYPES), (n, n_frames))),
        data.draw(st.none() | hnp.arrays(np.float64, (n, 3))),
        data.draw(st.none() | hnp.arrays(np.uint32, n)),
        data.draw(st.none() | hnp.arrays(np.int64, n)),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_traces(path, made)
        again = read_traces(path)
    for one, other in zip(again, made, strict=True):
        np.testing.assert_array_equal(one, other)  # type: ignore[arg-type]
        assert one is None or one.dtype == other.dtype  # type: ignore[union-attr]


@few
@given(st.lists(st.tuples(st.text(max_size=8), st.floats(), st.integers(-(2**63), 2**63 - 1))))
def test_any_table_reads_back_but_for_defused_formulas(rows: list[tuple[str, float, int]]) -> None:
    texts = [text.replace("\0", "").encode("utf-8", "ignore").decode() for text, _, _ in rows]
    columns = {"text": np.array(texts, dtype=object), "x_um": np.array([x for _, x, _ in rows]),
               "n": np.array([n for _, _, n in rows], dtype=np.int64)}  # fmt: skip
    with TemporaryDirectory() as folder:
        write_csv(Path(folder) / "a.csv", columns)
        with (Path(folder) / "a.csv").open(newline="", encoding="utf-8") as file:
            again = list(csv.DictReader(file))
    assert [row["text"].removeprefix("'") for row in again] == [t.removeprefix("'") for t in texts]
    assert not any(row["text"].startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for row in again)
    np.testing.assert_array_equal([float(row["x_um"] or "nan") for row in again], columns["x_um"])
    assert [int(row["n"]) for row in again] == columns["n"].tolist()
