"""Laws of the doors: whatever is written reads back, and any slice equals numpy's."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clgkit.io import PlaneMap, open_image, read_planemap, write_planemap, write_tiff
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
