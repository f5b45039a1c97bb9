"""Fine-tuning: it judges itself, stops, continues, and refuses what cannot work."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")

from clgkit.segmentation import fine_tuning, training  # noqa: E402
from clgkit.segmentation.fine_tuning import (  # noqa: E402
    FineRecipe,
    FineTuner,
    fine_tune,
    use_one_thread,
)
from clgkit.segmentation.network import shipped_network  # noqa: E402
from clgkit.segmentation.training_samples import LabelledStack, label_stack  # noqa: E402
from tests.unit.annotated_scene import scene  # noqa: E402
from tests.unit.segmentation_scene import VOXEL_UM  # noqa: E402

QUICK: dict[str, Any] = {"crop_px": 32, "n_steps": 6, "check_every": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    use_one_thread()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "HELD_OUT_BATCHES", 1)


@pytest.fixture(scope="module")
def stack() -> LabelledStack:
    made = scene()
    return label_stack(made.image, made.labels, voxel_um=VOXEL_UM, diameter_um=6.0)


@pytest.fixture(scope="module")
def other() -> LabelledStack:
    made = scene(seed=1)
    return label_stack(made.image, made.labels, voxel_um=VOXEL_UM, diameter_um=6.0)


def judged(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the held-out loss be what is given, look after look."""
    answers = iter(losses)
    monkeypatch.setattr(fine_tuning, "held_out_loss", lambda *_, **__: next(answers))


def tuner(stack: LabelledStack, other: LabelledStack | None = None, **changes: Any) -> FineTuner:
    return FineTuner(
        shipped_network(),
        [stack],
        held_out=[] if other is None else [other],
        recipe=FineRecipe(**(QUICK | changes)),
    )


def test_it_says_how_far_it_is(stack: LabelledStack, other: LabelledStack) -> None:
    seen = list(tuner(stack, other).run())

    assert [p.step for p in seen] == [2, 4, 6]
    assert all(np.isfinite([p.loss, p.held_out]).all() for p in seen)
    assert seen[0].left_s > 0
    assert seen[-1].left_s == 0


def test_the_best_weights_are_kept(
    stack: LabelledStack, other: LabelledStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [0.5, 0.3, 0.4, 0.35])
    made = tuner(stack, other)
    seen = list(made.run(until=2))
    best = made.network().weights
    seen += list(made.run())

    assert [p.is_best for p in seen] == [True, False, False]
    assert made.best_step == 2
    assert made.network().weights == best


def test_where_it_began_is_kept_if_nothing_is_better(
    stack: LabelledStack, other: LabelledStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [0.1, 0.3, 0.3, 0.3])
    made = tuner(stack, other)
    list(made.run())

    assert made.best_step == 0
    channels = np.random.default_rng(0).normal(size=(8, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(made.network().run(channels), shipped_network().run(channels))


def test_it_stops_when_there_is_no_gain(
    stack: LabelledStack, other: LabelledStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [0.5, 0.3, *[0.4] * 9])
    made = tuner(stack, other, n_steps=40, patience=2)
    seen = list(made.run())

    assert [p.step for p in seen] == [2, 4, 6]
    assert made.is_finished()
    assert seen[-1].left_s == 0
    assert list(made.run()) == []


def test_without_anything_held_out_the_last_weights_are_kept(stack: LabelledStack) -> None:
    made = tuner(stack)
    seen = list(made.run())

    assert all(np.isnan(p.held_out) and not p.is_best for p in seen)
    assert made.best_step == made.step == 6
    assert made.network().weights != shipped_network().weights


def test_stopped_and_continued_equals_uninterrupted(
    stack: LabelledStack, other: LabelledStack
) -> None:
    whole, first, second = (tuner(stack, other) for _ in range(3))
    list(whole.run())
    list(first.run(until=3))

    second.restore(first.state())
    list(second.run())

    assert second.losses == whole.losses
    assert second.looks == whole.looks
    assert second.network().weights == whole.network().weights


def test_a_look_between_is_no_look(stack: LabelledStack, other: LabelledStack) -> None:
    made = tuner(stack, other)

    seen = list(made.run(until=3))

    assert [p.step for p in seen] == [2, 3]
    assert np.isnan(seen[-1].held_out)
    assert [step for step, _ in made.looks] == [0, 2]


@pytest.mark.parametrize("changes", [{"seed": 1}, {"n_steps": 8}, {"peak_rate": 1e-3}])
def test_the_state_of_another_recipe_is_refused(
    stack: LabelledStack, changes: dict[str, Any]
) -> None:
    made = tuner(stack)
    list(made.run(until=1))

    with pytest.raises(ValueError, match="other settings, images or first weights"):
        tuner(stack, **changes).restore(made.state())


def test_the_state_of_other_images_is_refused(stack: LabelledStack, other: LabelledStack) -> None:
    made = tuner(stack)
    list(made.run(until=1))

    with pytest.raises(ValueError, match="other settings, images or first weights"):
        tuner(other).restore(made.state())
    with pytest.raises(ValueError, match="start anew"):
        made.restore(b"nonsense")


def test_the_seed_chooses_the_weights(stack: LabelledStack) -> None:
    made = [fine_tune(shipped_network(), [stack], recipe=recipe(seed)) for seed in (0, 0, 1)]

    assert made[0].weights == made[1].weights
    assert made[0].weights != made[2].weights


def recipe(seed: int) -> FineRecipe:
    return FineRecipe(seed=seed, n_steps=1, crop_px=32)


def test_the_report_is_told(stack: LabelledStack) -> None:
    seen: list[training.Progress] = []

    fine_tune(shipped_network(), [stack], recipe=FineRecipe(**QUICK), report=seen.append)

    assert [p.step for p in seen] == [2, 4, 6]


def test_the_statistics_of_the_network_stay(stack: LabelledStack) -> None:
    made = tuner(stack)
    before = made.net.state_dict()["enter.1.running_mean"].clone()
    list(made.run())

    assert torch.equal(made.net.state_dict()["enter.1.running_mean"], before)


def test_a_training_that_explodes_is_stopped(
    stack: LabelledStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "learn", lambda *_: float("nan"))

    with pytest.raises(ValueError, match="lower learning rate"):
        list(tuner(stack).run())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_steps": 0}, "at least 1"),
        ({"check_every": 0}, "at least 1"),
        ({"peak_rate": 0.0}, "learning rate"),
        ({"peak_rate": float("nan")}, "learning rate"),
        ({"crop_px": 30}, "multiple of 4"),
        ({"patience": 0}, "patience"),
        ({"seed": -1}, "seed"),
    ],
)
def test_numbers_outside_of_their_range_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FineRecipe(**changes)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        FineTuner(shipped_network(), [])
