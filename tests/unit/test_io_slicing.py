"""Every reader gives what numpy gives for the whole array: any slice, thread or process."""

import itertools
import operator
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from clgkit.io import Image, open_image
from clgkit.io.pixels import View, sliced

FRAMES = np.random.default_rng(0).integers(-3000, 30_000, (7, 6, 9)).astype(np.int16)
TYX: dict[str, Any] = {"axes": "tyx"}
VIRTUAL = "ImageJ=1.53f\nimages=7\nframes=7\nhyperstack=true\n"
SHUFFLED = np.array([3, 0, 6, 1, 5, 2, 4])


def tiff(**options: Any) -> Callable[[Path], None]:
    given = {"photometric": "minisblack", "metadata": None, **options}
    return lambda path: tifffile.imwrite(path, FRAMES, **given)


def hdf5(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", **{"data": FRAMES, **options})

    return write


def zarray(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        given = {"chunks": (2, 6, 9), "dtype": "i2", **options}
        zarr.create_array(path, shape=FRAMES.shape, **given)[:] = FRAMES

    return write


def virtual_stack(path: Path) -> None:
    tifffile.imwrite(path, FRAMES[0], description=VIRTUAL, metadata=None, byteorder=">")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    path.write_bytes(path.read_bytes()[:start] + FRAMES.astype(">i2").tobytes())


def shuffled_ome(path: Path) -> None:
    """Write the frames so that only the TiffData blocks tell their order."""
    blocks = "".join(
        f'<TiffData FirstT="{t}" IFD="{page}" PlaneCount="1"/>' for page, t in enumerate(SHUFFLED)
    )
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="int16" '
        f'SizeX="9" SizeY="6" SizeC="1" SizeZ="1" SizeT="7">{blocks}</Pixels></Image></OME>'
    )
    tifffile.imwrite(path, FRAMES[SHUFFLED], description=text, metadata=None, photometric=1)


def planes(path: Path) -> None:
    path.mkdir()
    for plane in range(3):
        frames = FRAMES + np.int16(plane)
        tifffile.imwrite(path / f"z_{plane + 1:02d}.tif", frames, metadata=None, photometric=1)


READERS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "npy": ("a.npy", lambda path: np.save(path, FRAMES), TYX),
    "npy, Fortran order": ("a.npy", lambda path: np.save(path, np.asfortranarray(FRAMES)), TYX),
    "npy, big-endian": ("a.npy", lambda path: np.save(path, FRAMES.astype(">i2")), TYX),
    "npz": ("a.npz", lambda path: np.savez_compressed(path, FRAMES), TYX),
    "HDF5": ("a.h5", hdf5(), TYX),
    "HDF5, chunks and gzip": ("a.h5", hdf5(chunks=(2, 3, 9), compression="gzip"), TYX),
    "HDF5, big-endian": ("a.h5", hdf5(data=FRAMES.astype(">i2")), TYX),
    "zarr 3": ("a.zarr", zarray(), TYX),
    "zarr 3, shards": ("a.zarr", zarray(shards=(4, 6, 9)), TYX),
    "zarr 2": ("a.zarr", zarray(zarr_format=2), TYX),
    "TIFF, mapped": ("a.tif", tiff(), TYX),
    "TIFF, big-endian BigTIFF": ("a.tif", tiff(bigtiff=True, byteorder=">"), TYX),
    "TIFF, deflate": ("a.tif", tiff(compression="zlib"), TYX),
    "TIFF, tiles": ("a.tif", tiff(tile=(16, 16)), TYX),
    "TIFF, strips of two rows": ("a.tif", tiff(rowsperstrip=2, compression="lzw"), TYX),
    "TIFF, ImageJ virtual stack": ("a.tif", virtual_stack, {}),
    "TIFF, OME with shuffled pages": ("a.ome.tif", shuffled_ome, {}),
    "folder of planes": ("planes", planes, {}),
}
PARTS = [
    slice(None), slice(2, 5), slice(None, None, 2), slice(1, None, 3), slice(None, None, -1),
    slice(5, 1, -2), slice(3, 3), slice(4, 2), slice(9, 20), slice(-3, None), slice(None, -2),
    slice(-100, 100), slice(6, 7), slice(-10, None, -1), slice(None, -10, -1), slice(0, 6, 100),
    slice(2, None, -1),
]  # fmt: skip


def opened(folder: Path, reader: str) -> tuple[Image, np.ndarray[Any, Any]]:
    name, write, options = READERS[reader]
    write(folder / name)
    image = open_image(folder / name, **options)
    whole = FRAMES if image.axes == "tyx" else np.stack([FRAMES, FRAMES + 1, FRAMES + 2], axis=1)
    return image, whole


@pytest.mark.parametrize("reader", READERS)
def test_every_slice_equals_numpys(tmp_path: Path, reader: str) -> None:
    image, whole = opened(tmp_path, reader)
    n_axes = whole.ndim
    keys = [
        tuple(part if at == axis else slice(None) for at in range(n_axes))
        for part, axis in itertools.product(PARTS, range(n_axes))
    ]
    rng = np.random.default_rng(1)
    keys += [tuple(PARTS[k] for k in rng.integers(0, len(PARTS), n_axes)) for _ in range(40)]

    assert image.shape == whole.shape
    assert image.pixels.dtype == np.dtype(np.int16)
    assert image.pixels.dtype.isnative
    for key in keys:
        read = image.pixels[key]
        np.testing.assert_array_equal(read, whole[key], err_msg=str(key))
        assert read.dtype.isnative


@pytest.mark.parametrize("reader", READERS)
def test_what_is_read_is_a_copy_that_may_be_changed(tmp_path: Path, reader: str) -> None:
    image, whole = opened(tmp_path, reader)
    key = (slice(1, 3),) * whole.ndim

    image.pixels[key][...] = 0

    np.testing.assert_array_equal(image.pixels[key], whole[key])


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_changes_no_byte_and_no_time_of_its_input(tmp_path: Path, reader: str) -> None:
    image, whole = opened(tmp_path, reader)

    def state() -> dict[Path, tuple[int, bytes]]:
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in tmp_path.rglob("*")
        }

    before = state()
    image.read()
    name, _, options = READERS[reader]
    open_image(tmp_path / name, **options).pixels[(slice(0, 1),) * whole.ndim]
    assert state() == before


@pytest.mark.parametrize("reader", READERS)
def test_threads_that_share_an_image_read_what_one_alone_reads(tmp_path: Path, reader: str) -> None:
    image, whole = opened(tmp_path, reader)
    rest = (slice(None),) * (whole.ndim - 1)
    frames = [t for t in range(7) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda t: image.pixels[(slice(t, t + 1), *rest)], frames))

    for t, frame in zip(frames, read, strict=True):
        np.testing.assert_array_equal(frame, whole[t : t + 1])


def test_images_of_every_reader_work_in_a_spawned_process(tmp_path: Path) -> None:
    made = {}
    for number, reader in enumerate(READERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        made[reader] = opened(folder, reader)
    key = (slice(4, 0, -1), slice(1, 3))

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        jobs = {
            reader: pool.submit(
                operator.getitem, image.pixels, (*key, *(slice(None),) * (whole.ndim - 2))
            )
            for reader, (image, whole) in made.items()
        }
        for reader, job in jobs.items():
            np.testing.assert_array_equal(job.result(), made[reader][1][key], err_msg=reader)


@pytest.mark.parametrize("axes", ["tcyx", "tyxc", "ctyx"])
def test_one_channel_of_every_order_slices_as_numpy(tmp_path: Path, axes: str) -> None:
    stack = np.stack([FRAMES, -FRAMES], axis=axes.index("c"))
    np.save(tmp_path / "a.npy", stack)
    image = open_image(tmp_path / "a.npy", axes=axes, channel=1)

    assert image.axes == "tyx"
    for part in PARTS:
        np.testing.assert_array_equal(image.pixels[part, part, :], -FRAMES[part, part])


def test_an_inserted_axis_is_sliced_like_one_of_length_one() -> None:
    view = View(FRAMES, (0, None, 1, 2))

    for part in PARTS:
        np.testing.assert_array_equal(view[:, part, :, :], FRAMES[:, None][:, part])


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_negative_steps_are_turned_for_sources_without_them(part: slice) -> None:
    class Forward:
        def __getitem__(self, key: tuple[slice, ...]) -> Any:
            assert all(k.step > 0 and 0 <= k.start <= k.stop for k in key)
            return FRAMES[key]

    np.testing.assert_array_equal(sliced(Forward(), (part, part), FRAMES.shape), FRAMES[part, part])
