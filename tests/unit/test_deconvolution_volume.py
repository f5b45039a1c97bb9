"""Scale, mirrored faces and tiles."""

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.deconvolution import (
    SparseHessian,
    check_stack,
    choose_core,
    denoise_block,
    denoise_sparse,
    find_scale,
)
from tests.unit.deconvolution_scene import nuclei

Float32 = npt.NDArray[np.float32]

QUICK = SparseHessian(iterations=30)


@pytest.fixture(scope="module")
def stack() -> Float32:
    return nuclei((12, 40, 40))


@pytest.fixture(scope="module")
def whole(stack: Float32) -> Float32:
    return denoise_sparse(stack).image


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tiles_give_the_whole(axis: int) -> None:
    stack = np.moveaxis(nuclei((64, 12, 12), seed=1), 0, axis)
    core = np.roll([22, 12, 12], axis).tolist()

    whole = denoise_sparse(stack).image
    made = denoise_sparse(stack, core_px=(core[0], core[1], core[2])).image

    assert np.abs(made - whole).max() < 1e-6 * whole.max()  # 2e-7 measured


def test_workers_change_no_bit(stack: Float32) -> None:
    one, two = (denoise_sparse(stack, QUICK, core_px=(12, 20, 20), workers=n).image for n in (1, 2))

    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_error_at_a_cut_falls_with_the_halo(axis: int) -> None:
    f = np.moveaxis(nuclei((64, 16, 16), seed=1) / 20, 0, axis)
    reference = SparseHessian()(f)
    inside: list[slice] = [slice(None)] * 3
    inside[axis] = slice(28, 36)
    errors = []
    for halo in (4, 8, 16):
        wide: list[slice] = [slice(None)] * 3
        wide[axis] = slice(28 - halo, 36 + halo)
        core: list[slice] = [slice(None)] * 3
        core[axis] = slice(halo, halo + 8)
        tile = SparseHessian()(f[tuple(wide)])[tuple(core)]
        errors.append(float(np.abs(tile - reference[tuple(inside)]).max() / reference.max()))

    # Measured 1e-3, 1e-5 and 2e-7 (float32) in all directions.
    assert errors[0] < 1e-2
    assert errors[1] < 1e-4
    assert errors[2] < 1e-6


def test_faces_are_as_good_as_the_inside(stack: Float32, whole: Float32) -> None:
    padded = np.pad(stack, 11, mode="reflect")
    scale = np.full(len(padded), find_scale(stack)[0])
    better = denoise_block(padded, SparseHessian(), scale=scale)[11:-11, 11:-11, 11:-11]

    for axis in range(3):
        for index in (0, -1):
            ours, theirs = whole.take(index, axis), better.take(index, axis)
            assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.01 * theirs.std()


def test_light_does_not_reach_the_opposite_face() -> None:
    f = np.zeros((8, 20, 20), np.float32)
    f[2:6, :3, 8:12] = 1

    made = denoise_sparse(f, scale=1.0).image

    assert made[:, -1].max() < 1e-6
    assert SparseHessian()(f)[:, -1].max() > 1e-5  # unpadded, it wraps around


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_scaling_by_a_power_of_two_changes_no_bit(stack: Float32, factor: float) -> None:
    np.testing.assert_array_equal(
        denoise_sparse(stack * np.float32(factor), QUICK).image,
        denoise_sparse(stack, QUICK).image * np.float32(factor),
    )


def test_scaling_scales_the_result(stack: Float32) -> None:
    one, other = (denoise_sparse(a, QUICK).image for a in (stack, stack * np.float32(3.7)))

    assert np.abs(other / np.float32(3.7) - one).max() < 1e-6 * one.max()


@pytest.mark.parametrize("place", [(6, 20, 20), (0, 20, 20), (6, 0, 39)])
def test_a_hot_pixel_stays_where_it_is(
    stack: Float32, whole: Float32, place: tuple[int, int, int]
) -> None:
    hot = stack.copy()
    hot[place] = 10 * stack.max()
    away = np.abs(np.indices(stack.shape) - np.reshape(place, (3, 1, 1, 1))).max(axis=0)

    made = denoise_sparse(hot, scale=float(find_scale(stack)[0])).image

    # Along an axis; measured 1e-7 (round, 10 px away: 1e-6).
    assert np.abs(made - whole)[away > 10].max() < 1e-6 * stack.max()


def test_a_hot_pixel_hardly_moves_the_percentile(stack: Float32) -> None:
    hot = stack.copy()
    hot[8, 30, 30] = 10 * stack.max()

    assert find_scale(hot)[0] == pytest.approx(find_scale(stack)[0], rel=0.05)  # whole photons


def test_with_the_maximum_a_hot_pixel_dims_everything(stack: Float32) -> None:
    hot = stack.copy()
    hot[8, 0, 0] = 10 * stack.max()

    made, before = (denoise_sparse(a, scale="max").image for a in (hot, stack))

    assert np.percentile(made, 99) < 0.2 * np.percentile(before, 99)


def test_the_scales_are_what_they_say(stack: Float32) -> None:
    assert find_scale(stack, "max")[3] == stack.max()
    assert find_scale(stack, percentile=50.0)[3] == np.median(stack)
    assert find_scale(stack, 12.5).tolist() == [12.5] * 12
    assert find_scale(stack, headroom=2.0)[3] == 2 * find_scale(stack)[3]
    per_plane = find_scale(stack, "per-plane", percentile=99)
    np.testing.assert_allclose(per_plane, [np.percentile(p, 99) for p in stack], rtol=1e-6)


def test_a_percentile_of_zero_gives_way_to_the_maximum() -> None:
    few = np.zeros((3, 40, 40))
    few[1, 20, 20] = 7

    assert find_scale(few).tolist() == [7, 7, 7]
    assert find_scale(few, "per-plane").tolist() == [7, 7, 7]
    assert find_scale(np.zeros((2, 3, 3))).tolist() == [1, 1]


def test_per_plane_scale_keeps_deep_nuclei_alive(stack: Float32) -> None:
    light = np.exp(-np.arange(12) / 3).astype(np.float32)[:, None, None]

    own, common = (denoise_sparse(stack * light, scale=s).image for s in ("per-plane", "max"))

    assert own[-1].max() > 2 * common[-1].max()


@pytest.mark.parametrize("shape", [(1, 20, 20), (2, 20, 20), (3, 5, 40), (20, 1, 9), (1, 1, 1)])
def test_small_stacks_are_legal(shape: tuple[int, int, int]) -> None:
    f = np.random.default_rng(0).random(shape)

    made = denoise_sparse(f, QUICK)

    assert made.image.shape == shape
    assert np.isfinite(made.image).all()


def test_one_plane_is_a_stack_of_equal_planes() -> None:
    plane = nuclei((1, 40, 40), seed=2)

    alone = denoise_sparse(plane, scale=20.0).image[0]
    three = denoise_sparse(np.repeat(plane, 3, axis=0), scale=20.0).image

    np.testing.assert_allclose(three[1], alone, atol=2e-5)  # 1e-6 of the scale


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "f2", "<f8", "bool"])
def test_any_real_dtype_is_accepted(dtype: str) -> None:
    f = (nuclei((3, 16, 16)) > 8) if dtype == "bool" else nuclei((3, 16, 16))

    made = denoise_sparse(f.astype(dtype), QUICK).image

    np.testing.assert_allclose(made, denoise_sparse(f.astype("f4"), QUICK).image, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "sentence"), [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (-1.0, "subtract the")]
)
def test_impossible_light_is_refused(value: float, sentence: str) -> None:
    f = np.ones((3, 4, 5))
    f[1, 1, 1] = value

    with pytest.raises(ValueError, match=sentence):
        denoise_sparse(f)


def test_other_things_are_refused() -> None:
    with pytest.raises(ValueError, match="three axes"):
        denoise_sparse(np.ones((4, 5)))
    with pytest.raises(ValueError, match="no voxel"):
        check_stack(np.zeros((0, 3, 3)))
    with pytest.raises(TypeError, match="real numbers"):
        check_stack(np.zeros((2, 3, 3), complex))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), "median"])
def test_a_scale_that_is_none_is_refused(scale: float | str) -> None:
    with pytest.raises(ValueError, match="scale"):
        find_scale(np.ones((2, 3, 3)), scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("headroom", [-1.0, float("nan")])
def test_headroom_is_positive(headroom: float) -> None:
    with pytest.raises(ValueError, match="headroom"):
        find_scale(np.ones((2, 3, 3)), headroom=headroom)


@pytest.mark.parametrize("percentile", [0.0, 101.0])
def test_a_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        find_scale(np.ones((2, 3, 3)), percentile=percentile)


@pytest.mark.parametrize(
    "shape", [(301, 1024, 1024), (3000, 3000, 3000), (66, 384, 384), (1, 2048, 2048), (3, 9, 9)]
)
def test_tiles_fit_their_memory(shape: tuple[int, int, int]) -> None:
    core = choose_core(shape)
    padded = [c + (32 if c < n else 24 if n > 1 else 0) for c, n in zip(core, shape, strict=True)]

    assert np.prod(padded, dtype=float) <= 13.5e6
    assert all(1 <= c <= n for c, n in zip(core, shape, strict=True))


def test_tiles_that_cannot_be_small_enough_are_as_small_as_allowed() -> None:
    assert choose_core((200, 200, 200), voxels=10) == (67, 67, 67)


def test_small_stacks_are_one_tile() -> None:
    assert choose_core((66, 300, 300)) == (66, 300, 300)
