"""A training: it learns, it repeats itself, it can be stopped, it stops by itself."""

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from clgkit.segmentation.cellpose import options_like, segment_section
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_recipe import CellposeRecipe
from clgkit.segmentation.cellpose_samples import AnnotatedSlice, annotate_slice
from clgkit.segmentation.score import score_labels
from tests.unit.cellpose_scene import TINY, disks, random_state

torch = pytest.importorskip("torch", reason="training needs torch")
training = pytest.importorskip("clgkit.segmentation.cellpose_training")

SMALL: dict[str, Any] = {
    "widths": TINY.widths,
    "diam_mean_px": 10,
    "n_epochs": 6,
    "crops_per_epoch": 6,
    "batch_size": 3,
    "crop_px": 32,
    "check_every": 2,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@lru_cache
def slices(n: int = 4, side: int = 48) -> list[AnnotatedSlice]:
    return [annotate_slice(*disks(k, side, 8)) for k in range(n)]


def trainer(**changes: Any) -> Any:
    recipe = CellposeRecipe(**(SMALL | changes))
    return training.CellposeTrainer(slices()[:3], held_out=slices()[3:], recipe=recipe)


def assert_same(first: CellposeNetwork, second: CellposeNetwork) -> None:
    for name, value in first.state.items():
        np.testing.assert_array_equal(value, second.state[name], err_msg=name)


def test_the_first_epoch_learns_nothing_but_statistics() -> None:
    made = trainer()
    before = training.state_arrays(made.net)

    list(made.run(until=1))

    after = training.state_arrays(made.net)
    changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    assert changed == {n for n in before if n.endswith(("mean", "var", "tracked"))} - {"diam_mean"}


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    first, second, other = trainer(), trainer(), trainer(seed=1)
    for made in (first, second, other):
        list(made.run(until=3))

    assert_same(first.network(), second.network())
    weight = first.network().state["output.2.weight"]
    assert not np.array_equal(weight, other.network().state["output.2.weight"])


def test_the_seed_of_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)

    trainer()

    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(("optimizer", "stop"), [("adamw", 1), ("adamw", 2), ("sgd", 3)])
def test_a_resumed_training_equals_an_uninterrupted_one(optimizer: Any, stop: int) -> None:
    whole, first, second = (trainer(optimizer=optimizer, n_epochs=4) for _ in range(3))

    straight = list(whole.run())
    list(first.run(until=stop))
    second.restore(first.state())
    rest = list(second.run())

    assert_same(whole.network(), second.network())
    assert [step.loss for step in rest] == [step.loss for step in straight[stop:]]
    assert second.history == whole.history
    assert second.best["epoch"] == whole.best["epoch"]


def test_a_state_of_another_training_is_refused() -> None:
    made = trainer()

    for other in (trainer(seed=1), trainer(learning_rate=0.01)):
        with pytest.raises(ValueError, match="other slices, settings or first weights"):
            made.restore(other.state())
    fewer = training.CellposeTrainer(slices()[:2], recipe=CellposeRecipe(**SMALL))
    with pytest.raises(ValueError, match="other slices"):
        made.restore(fewer.state())


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_damaged_state_is_refused(cut: int) -> None:
    made = trainer()

    with pytest.raises(ValueError, match="cannot be read; start anew"):
        made.restore(made.state()[:cut])


def test_progress_tells_epoch_loss_and_time_left() -> None:
    steps = list(trainer().run())

    assert [step.epoch for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {step.n_epochs for step in steps} == {6}
    assert all(math.isfinite(step.loss) for step in steps)
    assert steps[0].left_s > 0
    assert steps[-1].left_s == 0
    looked = [step.epoch for step in steps if not math.isnan(step.held_out_loss)]
    assert looked == [2, 4, 6]
    assert all(0 <= step.held_out_ap <= 1 for step in steps if step.epoch in looked)


def test_the_last_epoch_is_always_looked_at() -> None:
    steps = list(trainer(n_epochs=5).run())

    assert not math.isnan(steps[-1].held_out_loss)


def test_the_best_epoch_is_kept_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    scores = iter([(0.5, 0.3), (0.4, 0.9), (0.1, 0.9 - 0.02)])
    now: dict[str, float] = {}

    def loss(_: Any) -> float:
        now["loss"], now["ap"] = next(scores)
        return now["loss"]

    monkeypatch.setattr(training.CellposeTrainer, "_held_out_loss", loss)
    monkeypatch.setattr(training.CellposeTrainer, "_held_out_ap", lambda _: now["ap"])

    best = [step.epoch for step in made.run() if step.is_best]

    assert best == [2, 4]
    assert made.best["epoch"] == 4
    last = training.state_arrays(made.net)["output.2.weight"]
    assert not np.array_equal(made.network().state["output.2.weight"], last)


def test_among_equal_scores_the_lower_loss_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    losses = iter([0.5, 0.4, 0.45])
    monkeypatch.setattr(training.CellposeTrainer, "_held_out_loss", lambda _: next(losses))
    monkeypatch.setattr(training.CellposeTrainer, "_held_out_ap", lambda _: 0.8)

    assert [step.epoch for step in made.run() if step.is_best] == [2, 4]


def test_a_training_stops_when_nothing_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(n_epochs=40, patience=4)
    monkeypatch.setattr(training.CellposeTrainer, "_held_out_loss", lambda _: 1.0)
    monkeypatch.setattr(training.CellposeTrainer, "_held_out_ap", lambda _: 0.5)

    steps = list(made.run())

    assert steps[-1].epoch == 6
    assert made.finished
    assert made.best["epoch"] == 2


def test_without_held_out_slices_the_last_epoch_counts() -> None:
    made = training.CellposeTrainer(
        slices()[:2], recipe=CellposeRecipe(**(SMALL | {"patience": 1}))
    )

    steps = list(made.run())

    assert len(steps) == 6
    assert all(math.isnan(step.held_out_ap) for step in steps)
    np.testing.assert_array_equal(
        made.network().state["output.2.weight"], training.state_arrays(made.net)["output.2.weight"]
    )


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    made = trainer(optimizer="sgd", learning_rate=10, n_epochs=40, weight_decay=1)
    made.rates[:] = 1e30

    with pytest.raises(ValueError, match="use a lower learning rate than 10"):
        list(made.run())


def test_diameters_are_written_into_the_network() -> None:
    network = trainer().network()

    assert network.diam_mean_px == 10
    wanted = np.mean([part.diameter_px for part in slices()[:3]])
    assert network.diam_labels_px == pytest.approx(float(wanted), rel=1e-6)  # float32


@pytest.mark.parametrize(("rule", "momentum"), [("cellpose3", 0.05), ("cellpose2", 0.1)])
def test_batchnorm_has_the_momentum_of_its_program(rule: Any, momentum: float) -> None:
    made = trainer(rule=rule)

    norms = [m.momentum for m in made.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    assert set(norms) == {momentum}


def test_given_weights_are_where_it_begins() -> None:
    given = CellposeNetwork(random_state())
    recipe = CellposeRecipe(**(SMALL | {"diam_mean_px": 12}))

    made = training.CellposeTrainer(slices()[:2], recipe=recipe, network=given)

    found = made.network()
    for name, value in given.state.items():
        if name != "diam_labels":
            np.testing.assert_array_equal(found.state[name], value)
    assert found.diam_mean_px == 12
    assert found.diam_labels_px != given.diam_labels_px


@pytest.mark.parametrize("changes", [{"diam_mean_px": 30}, {"widths": (8, 16, 32, 64)}])
def test_given_weights_keep_their_widths_and_diameter(changes: dict[str, Any]) -> None:
    given = CellposeNetwork(random_state())
    recipe = CellposeRecipe(**(SMALL | {"diam_mean_px": 12} | changes))

    with pytest.raises(ValueError, match="a network keeps both"):
        training.CellposeTrainer(slices(), recipe=recipe, network=given)


def test_nothing_to_learn_from_is_refused() -> None:
    empty = annotate_slice(disks().image, np.zeros((64, 64), int))

    for given in ([], [empty, empty]):
        with pytest.raises(ValueError, match="nothing to learn from"):
            training.CellposeTrainer(given)


@pytest.mark.parametrize(
    ("n", "share", "n_held"),
    [(0, 0.2, 0), (3, 0.2, 0), (4, 0.2, 1), (10, 0.0, 0), (10, 0.3, 3), (48, 0.15, 7)],
)
def test_a_share_of_the_slices_is_held_out(n: int, share: float, n_held: int) -> None:
    held = training.split_held_out(n, share=share)

    assert len(held) == n_held
    assert held == sorted(set(held))
    assert held == training.split_held_out(n, share=share)


def test_another_seed_holds_out_other_slices() -> None:
    chosen = {tuple(training.split_held_out(20, share=0.2, seed=seed)) for seed in range(5)}

    assert len(chosen) > 1


@pytest.mark.parametrize("share", [-0.1, 0.95])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"0 to 0\.9"):
        training.split_held_out(10, share=share)


def test_packed_weights_are_a_bare_state_dict_of_313_tensors() -> None:
    network = trainer().network()

    state = torch.load(io.BytesIO(training.pack_weights(network)), weights_only=True)

    assert len(state) == 313
    assert_same(CellposeNetwork({name: t.numpy() for name, t in state.items()}), network)


def test_the_loss_is_zero_for_a_perfect_answer() -> None:
    target = torch.from_numpy(slices()[0].target)[None]
    answer = torch.stack(
        [5 * target[:, 1], 5 * target[:, 2], torch.where(target[:, 0] > 0, 50.0, -50.0)], dim=1
    )

    assert float(training.cellpose_loss(answer, target)) == pytest.approx(0, abs=1e-6)


def test_a_weight_of_one_is_no_weight() -> None:
    rng = np.random.default_rng(0)
    answer, target = (torch.from_numpy(rng.random((2, 3, 8, 8), np.float32)) for _ in range(2))

    plain = training.cellpose_loss(answer, target)

    weighed = training.cellpose_loss(answer, target, torch.ones(2, 8, 8))
    doubled = training.cellpose_loss(answer, target, torch.full((2, 8, 8), 2.0))
    assert float(weighed) == pytest.approx(float(plain), rel=1e-6)  # float32
    assert float(doubled) == pytest.approx(2 * float(plain), rel=1e-6)


def test_faults_count_where_the_weight_is() -> None:
    target = torch.from_numpy(slices()[0].target)[None]
    answer = torch.stack(
        [5 * target[:, 1], 5 * target[:, 2], torch.where(target[:, 0] > 0, 50.0, -50.0)], dim=1
    )
    answer[:, :, :5] = 3.0
    weights = torch.ones(target[:, 0].shape)
    weights[:, :5] = 0

    assert float(training.cellpose_loss(answer, target, weights)) == pytest.approx(0, abs=1e-6)


def test_crops_carry_the_weights_of_their_sections() -> None:
    made = trainer(most_weight=3.0)
    part = made.slices[:2]

    _, targets, weights = made._crops(part, [training.MIDDLE] * 2)

    assert weights.shape == targets[:, 0].shape
    assert set(weights[targets[:, 0] == 0].tolist()) == {1.0}
    for one, ids, seen in zip(part, targets[:, 0].numpy(), weights.numpy(), strict=True):
        wanted = training.pixel_weights(one, most=3.0)
        np.testing.assert_array_equal(seen, wanted[ids.astype(int)])
    assert weights.max() > 1
    assert trainer(most_weight=1.0)._crops(part, [training.MIDDLE] * 2)[2] is None


def test_weights_change_what_is_learnt_and_are_part_of_the_plan() -> None:
    plain, weighed = trainer(most_weight=1.0), trainer(most_weight=4.0)
    for made in (plain, weighed):
        list(made.run(until=3))

    first, second = (made.network().state["output.2.weight"] for made in (plain, weighed))
    assert not np.array_equal(first, second)
    with pytest.raises(ValueError, match="other slices, settings"):
        plain.restore(weighed.state())


def test_threads_are_set_or_left() -> None:
    training.use_threads(None)
    before = torch.get_num_threads()
    training.use_threads(before)

    assert torch.get_num_threads() == before


def test_a_small_network_learns_to_find_disks() -> None:
    learnt = [annotate_slice(*disks(k, 64, 12)) for k in range(4)]
    recipe = CellposeRecipe(
        widths=(4, 8, 16, 16), diam_mean_px=10, n_epochs=24, crops_per_epoch=12, crop_px=48,
        learning_rate=0.02, check_every=24,
    )  # fmt: skip
    made = training.CellposeTrainer(learnt, recipe=recipe)
    image, truth = disks(50, 64, 12)

    losses = [step.loss for step in made.run()]
    # so short a training has rough flows: their quality is not judged here
    found = segment_section(
        image, made.network(), options=options_like("default", flow_threshold=0)
    ).labels

    assert losses[-1] < 0.5 * losses[0]
    assert score_labels(truth, found, iou=0.5).ap >= 0.6  # untrained: 0
