"""Denoising with a SUPPORT network: ends, missing values, constant planes, threads."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a SUPPORT network needs torch")

from clgkit.denoising.support import (  # noqa: E402
    _exact,
    check_length,
    denoise_frames,
    denoise_support,
)
from clgkit.denoising.support_layout import SupportLayout, shapes_of  # noqa: E402
from clgkit.denoising.support_net import (  # noqa: E402
    SupportNet,
    build_network,
    new_network,
    state_arrays,
    threads_of,
    threads_set,
)
from clgkit.denoising.support_recipe import support_recipe  # noqa: E402
from clgkit.denoising.support_samples import Scale, measure_scale  # noqa: E402
from tests.unit.denoiser_scene import make_movie, tiny_layout  # noqa: E402

SCALE = Scale(100, 10)


def network(**changes: Any) -> SupportNet:
    return new_network(tiny_layout(**changes), seed=2).eval()


def test_a_frame_is_the_network_of_its_neighbours() -> None:
    movie, net = make_movie(n_frames=8), network()
    window = torch.from_numpy((movie[2:5] - 100) / 10)[None]

    found = denoise_frames(movie, net, scale=SCALE)

    with torch.inference_mode():
        expected = net(window)[0, 0].numpy() * 10 + 100
    np.testing.assert_allclose(found[3], expected, atol=1e-4)  # float32 at 100
    assert found.dtype == np.float32
    assert found.shape == movie.shape


@pytest.mark.parametrize(("ends", "beyond"), [("repeat", 0), ("mirror", 1)])
def test_the_first_frame_sees_what_was_chosen_before_it(ends: Any, beyond: int) -> None:
    movie, net = make_movie(n_frames=8), network()
    window = torch.from_numpy((movie[[beyond, 0, 1]] - 100) / 10)[None]

    found = denoise_frames(movie, net, scale=SCALE, ends=ends)

    with torch.inference_mode():
        expected = net(window)[0, 0].numpy() * 10 + 100
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_a_whole_movie_is_normalised_by_itself() -> None:
    movie, net = make_movie(), network()

    found = denoise_support(movie, net)

    np.testing.assert_array_equal(found, denoise_frames(movie, net, scale=measure_scale(movie)))


def test_only_wanted_frames_are_read() -> None:
    class Counted:
        def __init__(self) -> None:
            self.movie, self.read = make_movie(n_frames=200, side=8), []
            self.shape = self.movie.shape

        def __getitem__(self, key: Any) -> Any:
            self.read.append((key.start, key.stop))
            return self.movie[key]

    counted = Counted()

    found = denoise_frames(counted, network(), scale=SCALE, wanted=slice(50, 150))

    assert counted.read == [(49, 115), (113, 151)]  # 64 at a time, one neighbour on each side
    whole = denoise_frames(counted.movie, network(), scale=SCALE)
    np.testing.assert_allclose(found, whole[50:150], atol=1e-4)


def test_no_wanted_frame_gives_none() -> None:
    assert denoise_frames(make_movie(), network(), scale=SCALE, wanted=slice(5, 5)).size == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.float64])
def test_any_real_type_gives_float32(dtype: type) -> None:
    movie = make_movie(n_frames=6).astype(dtype)

    found = denoise_support(movie, network())

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, denoise_support(movie.astype(np.float32), network()))


def test_what_is_missing_stays_missing_and_harms_nothing_else() -> None:
    movie, net = make_movie(n_frames=8, side=48), network()
    holed = movie.copy()
    holed[3] = np.nan
    holed[:, :2] = np.inf

    found = denoise_frames(holed, net, scale=SCALE)

    assert np.isnan(found[3]).all()
    assert np.isnan(found[:, :2]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)[:, 2:]).all()
    far = slice(2 + net.layout.halo_px, None)
    np.testing.assert_allclose(
        found[5:, far], denoise_frames(movie, net, scale=SCALE)[5:, far], atol=1e-3
    )


def test_the_input_is_left_as_it_is() -> None:
    movie = make_movie(n_frames=6)
    movie[2, 3] = np.nan
    before = movie.copy()

    denoise_support(movie, network())

    np.testing.assert_array_equal(movie, before)


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_a_plane_without_contrast_comes_back(value: float) -> None:
    movie = np.full((6, 10, 10), value, np.float32)

    np.testing.assert_array_equal(denoise_support(movie, network()), movie)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (3, 5), (17, 33)])
def test_sides_of_any_length_are_taken(shape: tuple[int, int]) -> None:
    movie = make_movie(n_frames=6, side=40)[:, : shape[0], : shape[1]]

    found = denoise_frames(movie, network(widths=(4, 5, 6)), scale=SCALE)

    assert found.shape == movie.shape
    assert np.isfinite(found).all()


def test_the_border_to_the_right_and_below_is_that_of_a_mean() -> None:
    net = network()
    movie = make_movie(n_frames=5, side=23)
    padded = np.pad(movie, ((0, 0), (0, 1), (0, 1)), constant_values=100)

    found = denoise_frames(movie, net, scale=SCALE)

    expected = denoise_frames(padded, net, scale=SCALE)[:, :23, :23]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_half_precision_is_near() -> None:
    movie, net = make_movie(n_frames=5), network()

    exact = denoise_frames(movie, net, scale=SCALE)
    near = denoise_frames(movie, net, scale=SCALE, precision="bfloat16")

    assert 0 < np.abs(near - exact).max() < 0.03 * SCALE.sd  # three digits, through ten layers


@pytest.mark.parametrize(("precision", "rounds"), [("float32", False), ("bfloat16", True)])
def test_a_device_rounds_only_where_it_may(precision: Any, *, rounds: bool) -> None:
    before = torch.backends.cudnn.allow_tf32

    with _exact(torch.device("cuda"), precision):
        assert torch.backends.cudnn.allow_tf32 == rounds
    with _exact(torch.device("cpu"), precision):
        assert torch.backends.cudnn.allow_tf32 == before

    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_numbers_of_the_processor() -> None:
    movie, net = make_movie(n_frames=20), network()
    expected = denoise_frames(movie, net, scale=SCALE)

    found = denoise_frames(movie, net.to("cuda"), scale=SCALE)

    np.testing.assert_allclose(found, expected, atol=1e-4 * SCALE.sd)  # what a device may differ


def test_short_movies_and_other_shapes_are_refused() -> None:
    net = network(n_frames=7)

    with pytest.raises(ValueError, match="has 6 frames, the network takes 7 at a time"):
        denoise_support(make_movie(n_frames=6), net)
    with pytest.raises(ValueError, match=r"three axes \(T, Y, X\)"):
        denoise_frames(make_movie()[0], net, scale=SCALE)
    with pytest.raises(ValueError, match="takes 7 frames, found 3"):
        net(torch.zeros(1, 3, 8, 8))
    check_length(7, net.layout)


def test_weights_make_the_same_network_again() -> None:
    net = network(blind_spot=(3, 5))
    state = state_arrays(net)

    by_sizes = build_network(state, sizes=net.layout.as_dict())
    by_shapes = build_network(state, blind_spot=(3, 5))

    assert by_sizes.layout == by_shapes.layout == net.layout
    movie = make_movie(n_frames=5)
    expected = denoise_support(movie, net)
    for made in (by_sizes, by_shapes):
        np.testing.assert_array_equal(denoise_support(movie, made), expected)
    with pytest.raises(ValueError, match=r"blind spot of \(3, 5\) pixels, not \(1, 1\)"):
        build_network(state, sizes=net.layout.as_dict(), blind_spot=(1, 1))


@pytest.mark.parametrize("preset", ["small", "standard", "published"])
def test_the_shapes_are_those_of_the_module(preset: Any) -> None:
    layout = support_recipe(preset).layout
    for spot in ((1, 1), (3, 3)):
        sized = SupportLayout.from_dict(layout.as_dict() | {"blind_spot": spot})
        net = SupportNet(sized)

        assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == shapes_of(sized)
        assert sum(p.numel() for p in net.parameters()) == sized.n_parameters


def test_new_networks_follow_the_seed_and_leave_torch_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (state_arrays(new_network(tiny_layout(), seed=s)) for s in (1, 1, 2))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["enc_layers.0.weight"], other["enc_layers.0.weight"])
    assert (first["scalars_3x3.0"] == 1).all()
    assert not first["blind_convs3x3.0._spot"].any()
    bound = 1 / np.sqrt(4 * 8)  # of Kaiming's uniform draws with a = sqrt(5)
    assert 0.8 * bound < np.abs(first["blind_convs3x3.2.weight"]).max() <= bound


def test_small_networks_take_one_thread_and_large_ones_what_they_may() -> None:
    assert threads_of(support_recipe("small").layout) == 1
    with threads_set(1):
        assert threads_of(support_recipe("published").layout) == 1


@pytest.mark.parametrize(("cores", "told", "threads"), [(1, 8, 1), (4, 8, 4), (8, 2, 2)])
def test_no_more_threads_than_cores_of_this_process(
    monkeypatch: pytest.MonkeyPatch, cores: int, told: int, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: told)

    assert threads_of(support_recipe("published").layout) == threads
    assert threads_of(support_recipe("small").layout) == 1


def test_a_pass_takes_one_thread_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = network(), []
    forward = SupportNet.forward

    def note(self: SupportNet, x: Any) -> Any:
        seen.append(torch.get_num_threads())
        return forward(self, x)

    monkeypatch.setattr(SupportNet, "forward", note)
    movie = make_movie(n_frames=3)
    with threads_set(2):
        denoise_frames(movie, net, scale=SCALE)
        denoise_frames(movie, net, scale=SCALE, threads=3)

    assert seen == [1] * 3 + [3] * 3


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()

    with threads_set(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(KeyError), threads_set(before + 2):
        raise KeyError

    assert torch.get_num_threads() == before
