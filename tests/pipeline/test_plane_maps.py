"""Planes laid on their slices outlive the run: a file for the next command, fields for others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from clgkit import io
from clgkit.cli import mapfile
from clgkit.errors import DataError
from clgkit.io.metaimage import write_displacement
from clgkit.pipeline.store import Store

Clg = Callable[..., tuple[int, str, str]]
HEAD_END = b"ElementDataFile = LOCAL\n"


def read_field(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """Return header and displacements (y, x, 2) in y, x order, as a reader of the format would."""
    head, _, body = path.read_bytes().partition(HEAD_END)
    facts = dict(line.split(" = ") for line in head.decode().splitlines())
    n_x, n_y = (int(n) for n in facts["DimSize"].split())
    return facts, np.frombuffer(body, "<f4").reshape(n_y, n_x, 2)[..., ::-1]


def test_the_next_command_lays_labels_as_the_run_did(
    clg: Clg, finished: Path, tmp_path: Path
) -> None:
    clg("export", finished, "--to", tmp_path, "--format", "npz")
    store = Store(finished)
    planes = store.result("align_planes").array("planes")
    found = np.flatnonzero(planes.values >= 0)
    io.write_planemap(tmp_path / "planes.txt", io.PlaneMap(found, planes.values[found]))
    words = (
        finished / "correct_motion" / "corrected.zarr",
        finished / "segment_nuclei" / "labels.zarr",
        tmp_path / "planes.txt",
    )

    with_maps = clg("extract-traces", *words, tmp_path / "a.npz", "--maps",
                    tmp_path / "plane_maps.npz")  # fmt: skip
    without = clg("extract-traces", *words, tmp_path / "b.npz")
    meant = clg("extract-traces", *words, tmp_path / "c.npz", "--no-use-offset")

    assert [made[0] for made in (with_maps, without, meant)] == [0, 0, 0]
    rois = store.result("extract_traces").array("rois")
    bundle = io.read_traces(tmp_path / "a.npz")
    np.testing.assert_array_equal(bundle.trace, rois.values)
    assert not np.array_equal(io.read_traces(tmp_path / "b.npz").trace, rois.values)
    assert "give --maps" in without[2]
    assert "give --maps" not in with_maps[2] + meant[2]


def test_labels_of_one_slice_may_serve_two_planes_and_it_is_told(
    clg: Clg, finished: Path, tmp_path: Path
) -> None:
    labels = finished / "segment_nuclei" / "labels.zarr"
    middle = Store(finished).result("segment_nuclei").array("labels").sizes["z"] // 2
    (tmp_path / "planes.txt").write_text(f"1-{middle}\n2-{middle}\n")

    code, _, err = clg(
        "extract-traces", finished / "correct_motion" / "corrected.zarr", labels,
        tmp_path / "planes.txt", tmp_path / "a.npz", "--no-use-offset",
    )  # fmt: skip

    assert code == 0
    assert f"planes 1, 2 are one slice, {middle}" in err
    assert set(io.read_traces(tmp_path / "a.npz").position[:, 0]) == {middle - 1}


def test_a_run_refuses_a_shared_slice_unless_planes_may_lie_in_any_order(
    clg: Clg, finished: Path
) -> None:
    (finished / "planes.txt").write_text("1-5\n2-5\n")
    words = ("run", finished, "--until", "align_planes", "--no-report",
             "--set", 'plane_map.path="planes.txt"')  # fmt: skip

    code, _, err = clg(*words)
    assert code != 0
    assert 'say order = "free" in [align_planes]' in err

    code, _, err = clg(*words, "--set", 'align_planes.order="free"')
    assert code == 0, err
    planes = Store(finished).result("align_planes").array("planes").values
    assert planes[:2].tolist() == [4, 4]


def test_a_file_of_other_planes_is_refused(finished: Path, tmp_path: Path) -> None:
    result = Store(finished).result("align_planes")
    planes, maps, residual = (result.array(name) for name in ("planes", "maps", "residual"))
    path = tmp_path / "planes_maps.npz"
    numbers = np.arange(len(planes))
    mapfile.write_maps(path, planes=planes, maps=maps, residual=residual, numbers=numbers)
    movie = Store(finished).result("correct_motion").array("corrected")

    laid = mapfile.read_maps(path, planes, movie)
    assert laid.maps is not None
    np.testing.assert_array_equal(laid.maps.values, maps.values)
    np.testing.assert_array_equal(laid.planes.coords["shift_y_px"], planes.coords["shift_y_px"])

    with pytest.raises(DataError, match=r"plane 1 is slice \d+ there and 0 here"):
        mapfile.read_maps(path, planes.copy(data=np.full(len(planes), -1, np.int32)), movie)
    with pytest.raises(DataError, match="Take the file of this recording"):
        mapfile.read_maps(path, planes, movie.isel(y=slice(1, None)))
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="align-planes"):
        mapfile.read_maps(path, planes, movie)


def test_fields_lead_to_the_slice_and_back(clg: Clg, finished: Path, tmp_path: Path) -> None:
    code, _, _ = clg("export", finished, "--to", tmp_path, "--format", "mha")
    assert code == 0
    result = Store(finished).result("align_planes")
    planes, maps = result.array("planes"), result.array("maps")
    plane = int(np.flatnonzero(planes.values >= 0)[0])
    chosen = int(planes.values[plane]) + 1

    facts, there = read_field(tmp_path / f"plane_{plane + 1:02d}_to_slice_{chosen:03d}.mha")
    back_facts, back = read_field(tmp_path / f"slice_{chosen:03d}_to_plane_{plane + 1:02d}.mha")

    own, other = (
        np.array([float(s) for s in f["ElementSpacing"].split()][::-1]) for f in (facts, back_facts)
    )
    y, x = (n // 2 for n in there.shape[:2])
    offset = maps.values[plane, y, x, 1:]
    here_um = np.array([y, x]) * own
    # The map in pixels of both images, said in micrometres; float32 of a hundred micrometres.
    wanted = (np.array([y, x]) + offset) * other
    np.testing.assert_allclose(here_um + there[y, x], wanted, atol=1e-4)
    at = np.rint((here_um + there[y, x]) / other).astype(int)
    returned = at * other + back[tuple(at)]
    # There and back, to the nearest pixel of the slice.
    np.testing.assert_allclose(returned, here_um, atol=0.51 * other.max() + 0.01)


def test_a_field_has_two_components(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(y, x, 2\); found \(4, 5\)"):
        write_displacement(tmp_path / "f.mha", np.zeros((4, 5)), pixel_um=(1.0, 1.0))

    write_displacement(tmp_path / "f.mha", np.arange(40.0).reshape(4, 5, 2), pixel_um=(2.0, 0.5))
    facts, field = read_field(tmp_path / "f.mha")
    assert (facts["DimSize"], facts["ElementSpacing"]) == ("5 4", "0.5 2.0")
    np.testing.assert_array_equal(field, np.arange(40.0).reshape(4, 5, 2))


def test_planes_without_a_slice_have_no_field() -> None:
    coords = {"y": ("y", np.arange(3.0), {"units": "um"}), "x": ("x", np.arange(4.0))}
    planes = xr.DataArray(np.array([-1, -1], np.int32), dims=("z",))
    maps = xr.DataArray(np.zeros((2, 3, 4, 3), np.float32), dims=("z", "y", "x", "axis"),
                        coords={"z": [0.0, 5.0], **coords})  # fmt: skip
    labels = xr.DataArray(np.zeros((1, 3, 4), np.uint32), dims=("z", "y", "x"),
                          coords={"z": [0.0], **coords})  # fmt: skip

    assert not list(mapfile.displacements(planes, maps, labels, np.arange(2)))
