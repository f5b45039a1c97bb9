"""The five nouns: labelled, lazy, and strict about labels and networks."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import data
from clgkit.data import LABELS, MOVIE, VOLUME, Network, as_uint32
from clgkit.errors import DataError

VOXEL = (6.0, 0.8, 0.4)


class Watched:
    """Pixels that remember what was asked for."""

    def __init__(self, pixels: npt.NDArray[Any]) -> None:
        self.pixels = pixels
        self.shape = pixels.shape
        self.dtype = pixels.dtype
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        assert all(isinstance(part, slice) for part in key)
        part = self.pixels[key]
        self.read.append(part.shape)
        return part


@pytest.fixture
def pixels() -> Watched:
    return Watched(np.random.default_rng(0).integers(0, 999, (5, 3, 4, 6)).astype(np.uint16))


def test_a_movie_has_seconds_and_micrometres(pixels: Watched) -> None:
    made = data.movie(pixels, rate_hz=2.0, voxel_um=VOXEL)

    MOVIE.check(made)
    assert made.name == "function"
    assert made.coords["time"].values.tolist() == [0, 0.5, 1, 1.5, 2]
    np.testing.assert_allclose(made.coords["y"].values, [0, 0.8, 1.6, 2.4])
    assert data.voxel_um(made) == pytest.approx(VOXEL)
    assert data.rate_hz(made) == 2.0
    assert pixels.read == []


def test_volumes_and_labels_are_what_their_schemas_say() -> None:
    VOLUME.check(data.volume(np.zeros((2, 3, 4), np.float32), voxel_um=VOXEL))
    LABELS.check(data.labels(np.zeros((2, 3, 4), np.int64), voxel_um=VOXEL))


def test_only_what_is_sliced_is_read(pixels: Watched) -> None:
    made = data.movie(pixels, rate_hz=2.0, voxel_um=VOXEL)

    part = made.isel(time=slice(1, 3), z=2)
    assert pixels.read == []
    values = part.values

    assert pixels.read == [(2, 1, 4, 6)]
    np.testing.assert_array_equal(values, pixels.pixels[1:3, 2])


@pytest.mark.parametrize(
    "key",
    [
        {"time": 1},
        {"time": -1, "x": 0},
        {"y": slice(1, None, 2)},
        {"time": slice(None, None, -1)},
        {"time": [0, 2], "z": [1, 1]},
        {"x": slice(5, 2)},
    ],
)
def test_any_way_of_slicing_gives_what_numpy_gives(pixels: Watched, key: dict[str, Any]) -> None:
    lazy = data.movie(pixels, rate_hz=2.0, voxel_um=VOXEL)
    whole = data.movie(pixels.pixels, rate_hz=2.0, voxel_um=VOXEL)

    np.testing.assert_array_equal(lazy.isel(key).values, whole.isel(key).values)


def test_slices_of_slices_are_read_once(pixels: Watched) -> None:
    made = data.movie(pixels, rate_hz=2.0, voxel_um=VOXEL)

    np.testing.assert_array_equal(
        made.isel(time=slice(1, 4)).isel(time=1, z=slice(0, 2)).values, pixels.pixels[2, :2]
    )

    assert pixels.read == [(1, 2, 4, 6)]


def test_a_wrong_number_of_axes_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"axes time, z, y, x; .* shape \(2, 3\)") as caught:
        data.movie(np.zeros((2, 3)), rate_hz=1.0, voxel_um=VOXEL)

    assert caught.value.code == "E_AXES"


def test_single_planes_and_frames_have_a_spacing_of_one() -> None:
    made = data.movie(np.zeros((1, 1, 3, 3)), rate_hz=4.0, voxel_um=VOXEL)

    assert data.voxel_um(made)[0] == 1.0
    assert data.rate_hz(made) == 1.0


def test_coordinates_are_made_only_for_what_is_known() -> None:
    made = data.coordinates(("time", "z", "y"), (2, 3, 4), rate_hz=2.0)

    assert set(made) == {"time"}
    assert made["time"][2] == {"units": "s"}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64, np.float64])
def test_whole_numbers_become_ids_without_loss(dtype: type) -> None:
    values = np.array([[0, 3, 100]]).astype(dtype)

    made = as_uint32(values)

    assert made.dtype == np.uint32
    np.testing.assert_array_equal(made, values)


def test_the_largest_id_and_those_beyond_float32_are_kept() -> None:
    ids = np.array([16_777_217, 2**32 - 1], np.int64)

    np.testing.assert_array_equal(as_uint32(ids), ids)
    np.testing.assert_array_equal(as_uint32(ids.astype(np.float64)), ids)


def test_a_mask_is_one_nucleus_and_nothing_is_nothing() -> None:
    assert as_uint32(np.array([True, False])).tolist() == [1, 0]
    assert as_uint32(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([-1, 4]), "go from -1 to 4"),
        (np.array([2**32]), "4294967295; these go from 4294967296"),
        (np.array([1.5]), "fractions or NaN"),
        (np.array([1.0, np.nan]), "fractions or NaN"),
        (np.array([np.inf]), "between 0"),
        (np.array(["a"]), "whole numbers; these are <U1"),
        (np.array([1j]), "these are complex128"),
    ],
)
def test_what_is_no_id_is_refused_in_words(values: npt.NDArray[Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        as_uint32(values)

    assert caught.value.code == "E_SHAPE"


def test_lazy_labels_of_the_right_type_are_not_read() -> None:
    pixels = Watched(np.ones((2, 3, 4), np.uint32))

    made = data.labels(pixels, voxel_um=VOXEL)

    assert pixels.read == []
    assert made.dtype == np.uint32
    assert int(made.sum()) == 24


def triangle(**changes: Any) -> Network:
    parts: dict[str, Any] = {
        "indptr": np.array([0, 2, 4, 6, 6]),
        "indices": np.array([1, 2, 0, 2, 0, 1], np.int32),
        "node_ids": np.array([5, 6, 9, 12], np.uint32),
    }
    return Network(**(parts | changes))


def test_a_network_counts_isolated_nodes_and_undirected_edges() -> None:
    made = triangle()

    made.check()
    assert (made.n_nodes, made.n_edges) == (4, 3)


def test_a_network_without_edges_or_nodes_is_one() -> None:
    none = np.zeros(0, np.int32)
    for n in (0, 1, 5):
        Network(np.zeros(n + 1, np.int64), none, np.arange(n, dtype=np.uint32)).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"indptr": np.array([0, 2, 4, 6, 7])}, "row pointers do not match"),
        ({"indptr": np.array([1, 2, 4, 6, 6])}, "row pointers do not match"),
        ({"indptr": np.array([0, 4, 2, 6, 6])}, "go backwards"),
        ({"indptr": np.zeros(0, np.int64)}, "row pointers do not match"),
        ({"indices": np.array([1, 4, 0, 2, 0, 1])}, "outside 0 … 3"),
        ({"indices": np.array([1, -1, 0, 2, 0, 1])}, "outside 0 … 3"),
        ({"node_ids": np.array([1, 2])}, "2 node ids for 4 nodes"),
        ({"weights": np.ones(3, np.float32)}, "3 weights for 6 directed edges"),
        ({"position_um": np.ones((4, 2))}, r"shape \(4, 2\), not \(4, 3\)"),
        ({"indices": np.array([0, 2, 0, 2, 0, 1])}, "self-loops"),
        ({"indices": np.array([2, 1, 0, 2, 0, 1])}, "not sorted"),
        ({"indices": np.array([1, 1, 0, 2, 0, 1])}, "an edge stands twice"),
        ({"indices": np.array([1, 3, 0, 2, 0, 1])}, "not symmetric"),
    ],
)
def test_what_is_no_network_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        triangle(**changes).check()

    assert caught.value.code == "E_SHAPE"


def test_all_that_is_wrong_with_a_network_stands_in_one_message() -> None:
    with pytest.raises(DataError) as caught:
        triangle(node_ids=np.zeros(1, np.uint32), weights=np.ones(2, np.float32)).check()

    assert caught.value.message.count("\n  - ") == 2


def test_a_large_network_is_checked_without_overflow() -> None:
    n = 100_000  # n squared does not fit 32 bits
    indices = np.array([n - 1, 0], np.int32)
    indptr = np.zeros(n + 1, np.int64)
    indptr[1:n] = 1
    indptr[n] = 2

    Network(indptr, indices, np.arange(n, dtype=np.uint32)).check()


def test_an_xarray_container_stays_lazy_when_it_is_copied(pixels: Watched) -> None:
    made = data.movie(pixels, rate_hz=2.0, voxel_um=VOXEL)

    shallow = xr.DataArray(made)

    assert pixels.read == []
    assert shallow.shape == (5, 3, 4, 6)
