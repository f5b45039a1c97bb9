"""Crops, loss and learning rates of Cellpose 3.1.1.3 and 2.3.2 (`cellpose3.npz`)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clgkit.segmentation.cellpose_recipe import learning_rates
from clgkit.segmentation.cellpose_samples import AnnotatedSlice, Draws, draw_crop

Arrays = dict[str, npt.NDArray[Any]]

IMAGE = 5e-5  # OpenCV sums the four neighbours in another order
FLOWS = 2e-4  # the same, after the flows were turned
LABELS = 6 / 2304  # share of pixels at the edge of two; OpenCV may round places to 1/32 px


@pytest.fixture(scope="module")
def made(shared: Path) -> Arrays:
    path = shared / "golden" / "cellpose3.npz"
    if not path.exists():
        pytest.skip("the golden outputs (cellpose3.npz) are not at hand")
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize("number", [0, 1])
def test_a_crop_is_theirs_for_the_same_draws(made: Arrays, number: int) -> None:
    part = AnnotatedSlice(made[f"aug_x{number}"][np.newaxis], made[f"aug_y{number}"], 1.0, 1)

    image, target = draw_crop(
        part,
        Draws(*made["aug_draws"][number].tolist()),
        rescale=float(made["aug_rescale"][number]),
        crop_px=48,
    )

    np.testing.assert_allclose(image[0], made["aug_img"][number], atol=IMAGE, rtol=0)
    np.testing.assert_allclose(target[1:], made["aug_lbl"][number][1:], atol=FLOWS, rtol=0)
    assert np.mean(target[0] != made["aug_lbl"][number][0]) <= LABELS


def test_the_scale_of_a_crop_is_theirs(made: Arrays) -> None:
    scales = [
        (0.75 + 0.5 * draws[2]) / rescale
        for draws, rescale in zip(made["aug_draws"], made["aug_rescale"], strict=True)
    ]

    np.testing.assert_allclose(scales, made["aug_scale"], rtol=1e-6)  # stored as float32


def test_the_loss_is_theirs(made: Arrays) -> None:
    torch = pytest.importorskip("torch", reason="the loss is torch's")
    from clgkit.segmentation.cellpose_training import cellpose_loss

    loss = cellpose_loss(torch.from_numpy(made["loss_y"]), torch.from_numpy(made["loss_lbl"]))

    assert float(loss) == pytest.approx(float(made["loss"]), rel=1e-6)  # float32


@pytest.mark.parametrize("n_epochs", [50, 200, 500])
@pytest.mark.parametrize(("rule", "prefix"), [("cellpose3", ""), ("cellpose2", "v232_")])
def test_learning_rates_are_theirs(made: Arrays, n_epochs: int, rule: str, prefix: str) -> None:
    wanted = made[f"{prefix}lr_{n_epochs}"]

    rates = learning_rates(n_epochs, 0.1, rule=rule)  # type: ignore[arg-type]

    np.testing.assert_allclose(rates, wanted, rtol=1e-12)  # halvings of the same number
