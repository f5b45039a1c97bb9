"""Planes of a simulated fish are laid in its stack: level, tilted, by nuclei, or not at all."""

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from clgkit import data
from clgkit.errors import DataError
from clgkit.stages.align_planes import AlignPlanes, PlanesAligned, align_planes
from clgkit.workspace import Workspace
from tests.unit.planes_scene import Planes, planes_of, target_errors_px


def aligned(scene: Planes, *more: Any, **changes: Any) -> tuple[PlanesAligned, list[str]]:
    params = AlignPlanes(nucleus_um=5.2, **changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made = align_planes(
            scene.template, scene.structure, *more, params=params,
            workspace=Workspace(executor="serial"),
        )  # fmt: skip
    return made, [str(warning.message) for warning in caught]


@pytest.fixture(scope="module")
def level() -> tuple[PlanesAligned, list[str]]:
    """The three planes by their cytosol, registered in full."""
    return aligned(planes_of())


def test_level_planes_are_found_and_stay_level(level: tuple[PlanesAligned, list[str]]) -> None:
    scene = planes_of()
    made, said = level

    planes = made.planes
    assert said == []
    np.testing.assert_array_equal(planes.values, scene.slices)
    assert planes.coords["found"].values.tolist() == [1, 1, 1]
    assert (planes.coords["score"] > 2 * planes.coords["chance"]).all()
    np.testing.assert_allclose(planes.coords["position"], scene.slices, atol=0.5)
    assert not planes.coords["tilt_y_slices"].any()
    assert not made.maps.values[..., 0].any()
    # A tenth of a pixel was measured; nuclei have a radius of 3.
    assert np.median(target_errors_px(made.maps, scene)) < 0.25
    assert (planes.coords["residual_px"] < 0.5).all()
    assert (planes.coords["inverse_consistency_px"] < 0.05).all()
    assert made.z_drift is None


def test_a_tilt_of_two_slices_across_the_field_is_recovered() -> None:
    scene = planes_of(n_planes=5, spans=(2.0, 0.0))
    made, said = aligned(scene)

    assert said == []
    # To half a slice: a nucleus is eleven slices long.
    np.testing.assert_allclose(made.planes.coords["tilt_y_slices"], 2, atol=0.5)
    np.testing.assert_allclose(made.planes.coords["tilt_x_slices"], 0, atol=0.5)
    np.testing.assert_allclose(made.planes.coords["position"], scene.slices, atol=0.8)
    depth = made.planes.values[:, np.newaxis] + made.maps.values[..., 0][:, [0, -1]].mean(axis=2)
    np.testing.assert_allclose(depth - scene.slices[:, np.newaxis], [[-1, 1]] * 5, atol=0.9)
    assert np.median(target_errors_px(made.maps, scene)) < 0.25


def test_no_tilt_is_looked_for_if_the_user_says_so() -> None:
    scene = planes_of(n_planes=5, spans=(2.0, 0.0))
    made, _ = aligned(scene, in_plane="offset", tilt="none")

    assert not made.maps.values[..., 0].any()


def test_nuclei_place_planes_better_than_cytosol(level: tuple[PlanesAligned, list[str]]) -> None:
    scene, green = planes_of(), level[0]
    red, said = aligned(scene, None, scene.nuclear)

    assert said == []
    np.testing.assert_array_equal(red.planes.values, scene.slices)
    # 0.012 against 0.098 px, and scores of 6.7 against 2.8 times chance, were measured.
    errors = [np.median(target_errors_px(made.maps, scene)) for made in (red, green)]
    assert errors[0] < errors[1] / 2
    above = [(m.planes.coords["score"] / m.planes.coords["chance"]).min() for m in (red, green)]
    assert above[0] > 1.5 * above[1]


def test_a_plane_without_nuclear_image_falls_back_on_its_template() -> None:
    scene = planes_of()
    nuclear = scene.nuclear.copy()
    nuclear[1] = np.nan
    nuclear.attrs["failed_planes"] = {"1": "all frames are blank"}

    made, said = aligned(scene, None, nuclear, in_plane="offset")

    assert said == []
    np.testing.assert_array_equal(made.planes.values, scene.slices)


def test_nuclei_of_another_shape_are_refused() -> None:
    scene = planes_of()

    with pytest.raises(DataError, match="mean image of the nuclei has shape"):
        aligned(scene, None, scene.nuclear.isel(z=slice(0, 2)))


def with_a_stranger() -> Planes:
    """Planes whose middle one is mirrored: the same cells where they never are."""
    scene = planes_of()
    template = scene.template.copy()
    template[1] = template.values[1, ::-1]
    return scene._replace(template=template)


def test_a_plane_of_another_fish_is_not_found_and_left_out() -> None:
    scene = with_a_stranger()
    made, said = aligned(scene, in_plane="offset")

    assert made.planes.coords["found"].values.tolist() == [1, 0, 1]
    assert made.planes.values.tolist() == [scene.slices[0], -1, scene.slices[2]]
    assert len(said) == 1
    assert said[0].startswith("plane 1 was not found in the stack: its best correlation is 0.")
    assert said[0].endswith("it is left out")


def test_a_plane_that_is_not_found_is_kept_if_the_user_says_so() -> None:
    scene = with_a_stranger()
    best, said = aligned(scene, not_found="keep", in_plane="offset")

    assert best.planes.values[1] >= 0
    assert f"keeps slice {best.planes.values[1]}" in said[0]

    known = xr.DataArray(np.array([-1, 33, -1], np.int32), dims=("z",))
    given, said = aligned(scene, known, in_plane="offset")

    assert given.planes.values[1] == 33
    assert given.planes.coords["found"].values.tolist() == [1, 0, 1]
    assert any("keeps slice 33" in sentence for sentence in said)


def test_planes_at_another_size_of_pixels_get_one_sentence() -> None:
    scene = planes_of()
    # Half as large again, and cut to the same field: the size in micrometres does not tell.
    zoomed = ndimage.zoom(scene.template.values, (1, 1.5, 1.5), order=3)[:, 48:-48, 48:-48]
    made, said = aligned(
        scene._replace(template=scene.template.copy(data=zoomed)), in_plane="offset"
    )

    assert made.planes.values.tolist() == [-1, -1, -1]
    assert made.planes.coords["doubtful"].values.tolist() == [1, 1, 1]
    assert len(said) == 1
    assert said[0].startswith("no plane was found in the stack: the best correlation is 0.1")
    assert "look at voxel_um: pixels of 0.8 x 0.8 um were laid on pixels of 0.4 x 0.4 um" in said[0]


def test_planes_of_another_size_are_refused() -> None:
    scene = planes_of()
    large = np.repeat(np.repeat(scene.template.values, 2, axis=1), 2, axis=2)
    resized = data.volume(large, name="template", voxel_um=data.voxel_um(scene.template))

    with pytest.raises(DataError, match="do not show the same field"):
        aligned(scene._replace(template=resized))


def test_blurred_planes_are_doubted_and_sharp_ones_are_not(
    level: tuple[PlanesAligned, list[str]],
) -> None:
    scene = planes_of()
    blurred = ndimage.gaussian_filter(scene.template.values, (0, 2.5, 2.5))
    made, said = aligned(
        scene._replace(template=scene.template.copy(data=blurred)),
        order="free",
        in_plane="offset",
        tilt="none",
    )

    assert level[0].planes.coords["doubtful"].values.tolist() == [0, 0, 0]
    # They correlate well, and with slices that are not theirs.
    assert (np.abs(made.planes.values - scene.slices) > 1).all()
    assert made.planes.coords["found"].values.tolist() == [1, 1, 1]
    assert made.planes.coords["doubtful"].values.tolist() == [1, 1, 1]
    assert len(said) == 1
    assert said[0].startswith("plane(s) 0, 1, 2 might lie in other slices as well")


def test_planes_find_their_slices_between_those_that_are_given() -> None:
    scene = planes_of()
    taken = int(scene.slices[1])
    known = xr.DataArray(np.array([-1, -1, taken], np.int32), dims=("z",))

    made, _ = aligned(scene, known, in_plane="offset", tilt="none", use_spacing=False)

    planes = made.planes.values
    assert planes[2] == taken
    assert planes[0] < planes[1] < taken
    assert made.planes.coords["given"].values.tolist() == [0, 0, 1]
    free, _ = aligned(scene, known, in_plane="offset", tilt="none", order="free")
    assert free.planes.values.tolist() == [scene.slices[0], taken, taken]


def test_a_map_that_leaves_a_plane_no_slice_is_refused() -> None:
    scene = planes_of()
    known = xr.DataArray(np.array([25, -1, 26], np.int32), dims=("z",))

    with pytest.raises(DataError, match=r'no slices of their own.*order = "free"'):
        aligned(scene, known)


def test_a_small_field_cannot_tell() -> None:
    scene = planes_of()
    part = {"y": slice(0, 96), "x": slice(0, 96)}
    large = {"y": slice(0, 192), "x": slice(0, 192)}
    small = scene._replace(
        template=scene.template.isel(part), structure=scene.structure.isel(large)
    )
    made, _ = aligned(small, in_plane="offset")

    assert made.planes.coords["found"].values.tolist() == [-1, -1, -1]
    assert (made.planes.values >= 0).all()


def movie_along_z(scene: Planes, rise: int) -> xr.DataArray:
    """A movie of the first plane, nuclei, that sinks by `rise` slices half-way through."""
    first = int(scene.slices[0])
    levels = [scene.structure.isel(z=first + step).values for step in (0, rise)]
    small = [level.reshape(192, 2, 192, 2).mean(axis=(1, 3)) for level in levels]
    frames = np.array([small[0]] * 6 + [small[1]] * 4, np.float32)[:, np.newaxis]
    voxel = data.voxel_um(scene.template)
    return data.movie(frames, rate_hz=1.0, voxel_um=voxel)


def test_drift_along_z_is_told() -> None:
    scene = planes_of()
    movie = movie_along_z(scene, 2)
    one = scene._replace(template=movie.mean("time").assign_coords(z=movie.coords["z"]))
    one.template.attrs.clear()
    made, said = aligned(one, None, None, movie, drift_bin_s=2.0, in_plane="offset")

    assert made.z_drift is not None
    assert made.z_drift.dims == ("bin", "z")
    # Slices are 1 um apart.
    np.testing.assert_allclose(made.z_drift.values[:, 0], [0, 0, 0, 2, 2], atol=0.5)
    assert len(said) == 1
    assert "drifts by 2.0 um along z, more than half a slice" in said[0]


def test_drift_is_measured_on_movies_of_the_same_planes_only() -> None:
    scene = planes_of()

    with pytest.raises(DataError, match="The movie has 1 planes, the template 3"):
        aligned(scene, None, None, movie_along_z(scene, 0), drift_bin_s=2.0)
