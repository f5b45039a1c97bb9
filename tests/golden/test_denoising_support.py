"""The SUPPORT network beside passes of the original program (NICALab/SUPPORT, golden numbers)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.lib.npyio import NpzFile

torch = pytest.importorskip("torch", reason="a SUPPORT network needs torch")

from clgkit.denoising.support_layout import layout_of, shapes_of  # noqa: E402
from clgkit.denoising.support_net import build_network  # noqa: E402

Golden = Callable[[str], NpzFile]

TOLERANCE = 1e-5  # another build of torch may sum a convolution in another order

CONFIGURATIONS = {"bs1": None, "bs3": (3, 3), "bs1x5": (1, 5), "plane": None}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)


def weights(made: NpzFile, name: str) -> dict[str, npt.NDArray[Any]]:
    prefix = f"{name}/state/"
    return {key.removeprefix(prefix): made[key] for key in made.files if key.startswith(prefix)}


@EVERY
def test_a_pass_equals_the_original(golden: Golden, name: str) -> None:
    made = golden("support")
    net = build_network(weights(made, name), blind_spot=CONFIGURATIONS[name])

    with torch.inference_mode():
        found = net(torch.from_numpy(made[f"{name}/input"])).numpy()

    np.testing.assert_allclose(found, made[f"{name}/output"], atol=TOLERANCE, rtol=0)


@EVERY
def test_parameters_bear_the_published_names_in_the_published_order(
    golden: Golden, name: str
) -> None:
    state = weights(golden("support"), name)

    layout = layout_of(
        {key: values.shape for key, values in state.items()}, blind_spot=CONFIGURATIONS[name]
    )

    assert shapes_of(layout) == {key: values.shape for key, values in state.items()}
    assert list(shapes_of(layout)) == list(state)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("bs1", (7, (4, 8, 16), 6, (5, 3))),
        ("bs1x5", (5, (4, 8), 4, (4, 2))),
        ("plane", (5, (4, 8), 0, (5, 3))),
    ],
)
def test_sizes_are_read_from_the_shapes(golden: Golden, name: str, sizes: tuple[Any, ...]) -> None:
    net = build_network(weights(golden("support"), name), blind_spot=CONFIGURATIONS[name])

    layout = net.layout
    assert (layout.n_frames, layout.widths, layout.channels, layout.depths) == sizes


def test_the_spot_of_a_larger_one_must_be_said(golden: Golden) -> None:
    state = weights(golden("support"), "bs3")

    with pytest.raises(ValueError, match="larger than one pixel"):
        build_network(state)
    with pytest.raises(ValueError, match="more than one pixel"):
        build_network(state, blind_spot=(1, 1))
