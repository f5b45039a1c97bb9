"""Laws of the SUPPORT network: it is blind, and cutting the work changes nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="a SUPPORT network needs torch")

from clgkit.denoising.support import denoise_frames  # noqa: E402
from clgkit.denoising.support_layout import SupportLayout  # noqa: E402
from clgkit.denoising.support_net import SupportNet, new_network  # noqa: E402
from clgkit.denoising.support_samples import Scale, measure_scale  # noqa: E402
from tests.unit.denoiser_scene import Float32, make_movie, tiny_layout  # noqa: E402

SIZES = {"n_frames": 3, "widths": (4, 6, 8), "channels": 5}
SPOTS = [(1, 1), (3, 3), (5, 5), (1, 19), (1, 5)]
CUT = 1e-4  # of the standard deviation: what the stage promises
REACH = 16  # pixels looked at around the hidden one


def network(**changes: Any) -> SupportNet:
    return new_network(tiny_layout(**changes), seed=3).eval()


def seen(layout: SupportLayout, side: int = 65) -> Float32:
    """Return how strongly one output pixel depends on each pixel of each frame, around it."""
    net = new_network(layout, seed=1)
    shown = torch.randn(
        4, layout.n_frames, side, side, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    middle = side // 2
    net(shown)[:, 0, middle, middle].sum().backward()
    found: Float32 = shown.grad.abs().sum(dim=0).numpy()  # type: ignore[union-attr]
    around = slice(middle - REACH, middle + REACH + 1)
    return found[:, around, around]


@pytest.mark.parametrize("spot", SPOTS, ids=str)
def test_a_pixel_depends_on_its_frame_but_for_exactly_the_spot(spot: tuple[int, int]) -> None:
    layout = SupportLayout(**SIZES, blind_spot=spot)  # type: ignore[arg-type]
    y, x = (side // 2 for side in spot)

    depends = seen(layout)[layout.center]

    hole = np.zeros_like(depends, bool)
    hole[REACH - y : REACH + y + 1, REACH - x : REACH + x + 1] = True
    assert not depends[hole].any()
    just_outside = np.zeros_like(hole)
    just_outside[REACH - y - 1 : REACH + y + 2, REACH - x - 1 : REACH + x + 2] = True
    just_outside &= ~hole
    assert depends[just_outside].all()


@pytest.mark.parametrize("spot", SPOTS, ids=str)
@pytest.mark.parametrize("depths", [(1, 1), (2, 1), (3, 2), (4, 2)], ids=str)
def test_a_shorter_chain_is_blind_to_the_spot_too(
    spot: tuple[int, int], depths: tuple[int, int]
) -> None:
    layout = SupportLayout(**SIZES, depths=depths, blind_spot=spot)  # type: ignore[arg-type]
    y, x = (side // 2 for side in spot)

    depends = seen(layout)[layout.center]

    assert not depends[REACH - y : REACH + y + 1, REACH - x : REACH + x + 1].any()
    assert depends.any()


@pytest.mark.parametrize("spot", SPOTS, ids=str)
def test_the_same_pixel_of_other_frames_is_used(spot: tuple[int, int]) -> None:
    layout = SupportLayout(**SIZES, blind_spot=spot)  # type: ignore[arg-type]

    depends = seen(layout)

    assert depends[0, REACH, REACH] > 0
    assert depends[2, REACH, REACH] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"blind_spot": (3, 5)},
        {"widths": (4, 6, 8)},
        {"channels": 0},
        {"n_frames": 1, "widths": ()},
    ],
    ids=str,
)
def test_nothing_is_seen_beyond_the_halo(changes: dict[str, Any]) -> None:
    layout = tiny_layout(**changes)
    net = new_network(layout, seed=1)
    side = 4 * layout.halo_px // layout.step_px * layout.step_px
    shown = torch.randn(2, layout.n_frames, side, side, requires_grad=True)
    for pixel in range(side // 2, side // 2 + layout.step_px):
        net(shown)[:, 0, pixel, pixel].sum().backward()

    depends = shown.grad.abs().sum(dim=(0, 1)).numpy()  # type: ignore[union-attr]
    rows = np.flatnonzero(depends.any(axis=1))

    assert rows[0] >= side // 2 - layout.halo_px
    assert rows[-1] < side // 2 + layout.step_px + layout.halo_px


@settings(max_examples=5)
@given(
    height=st.integers(20, 70),
    width=st.integers(20, 70),
    tile_px=st.integers(4, 40),
    spot=st.sampled_from([(1, 1), (3, 3), (1, 5)]),
)
def test_tiles_change_nothing(height: int, width: int, tile_px: int, spot: tuple[int, int]) -> None:
    frames = make_movie(n_frames=4, side=70)[:, :height, :width]
    net, scale = network(blind_spot=spot), Scale(100, 10)

    whole = denoise_frames(frames, net, scale=scale, tile_px=1000)
    tiled = denoise_frames(frames, net, scale=scale, tile_px=tile_px)

    np.testing.assert_allclose(tiled, whole, atol=CUT * scale.sd, rtol=0)


@settings(max_examples=8)
@given(
    start=st.integers(0, 28), length=st.integers(1, 12), ends=st.sampled_from(["repeat", "mirror"])
)
def test_blocks_of_frames_change_nothing(start: int, length: int, ends: Any) -> None:
    movie = make_movie()
    net, scale = network(n_frames=5), measure_scale(movie)
    stop = min(start + length, len(movie))
    first, last = max(start - net.layout.center, 0), min(stop + net.layout.center, len(movie))

    whole = denoise_frames(movie, net, scale=scale, ends=ends)
    block = denoise_frames(
        movie[first:last], net, scale=scale, wanted=slice(start - first, stop - first), ends=ends
    )

    np.testing.assert_allclose(block, whole[start:stop], atol=CUT * scale.sd, rtol=0)


@settings(max_examples=5)
@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000))
def test_brighter_and_offset_movies_give_brighter_and_offset_results(
    gain: float, offset: float
) -> None:
    movie = make_movie(n_frames=6)
    net = network()
    changed = (movie * gain + offset).astype(np.float32)

    plain = denoise_frames(movie, net, scale=measure_scale(movie))
    found = denoise_frames(changed, net, scale=measure_scale(changed))

    rounding = 1e-5 * (abs(offset) + 100 * gain)  # of float32, where the offset outweighs the gain
    np.testing.assert_allclose(found, plain * gain + offset, atol=rounding + 1e-3 * gain, rtol=0)


@settings(max_examples=5)
@given(shift=st.integers(1, 5))
def test_translations_by_whole_cells_commute_inside(shift: int) -> None:
    net, scale = network(), Scale(100, 10)
    step, margin = net.layout.step_px, net.layout.halo_px + 12
    movie = make_movie(n_frames=3, side=72)
    moved = np.roll(movie, shift * step, axis=2)

    plain = denoise_frames(movie, net, scale=scale)
    found = denoise_frames(moved, net, scale=scale)

    inside = slice(margin, -margin)
    expected = np.roll(plain, shift * step, axis=2)
    np.testing.assert_allclose(
        found[:, inside, inside], expected[:, inside, inside], atol=CUT * scale.sd, rtol=0
    )
