"""Training a SUPPORT network: progress, resume, held-out frames, a copied input."""

import json
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a SUPPORT network is trained with torch")

from clgkit.denoising.support import denoise_support  # noqa: E402
from clgkit.denoising.support_layout import SupportLayout  # noqa: E402
from clgkit.denoising.support_net import build_network, state_arrays  # noqa: E402
from clgkit.denoising.support_training import (  # noqa: E402
    HeldOut,
    SupportTrainer,
    support_loss,
)
from tests.unit.denoiser_scene import Float32, make_movie, tiny_layout, tiny_recipe  # noqa: E402


def trainer(movie: Float32 | None = None, **changes: Any) -> SupportTrainer:
    return SupportTrainer([make_movie() if movie is None else movie], recipe=tiny_recipe(**changes))


def weights(made: SupportTrainer) -> Float32:
    return np.concatenate([values.ravel() for values in state_arrays(made.net).values()])


def test_the_loss_is_half_absolute_and_half_squared() -> None:
    made = torch.tensor([[0.0, 2.0, 5.0]])
    target = torch.tensor([[1.0, -1.0, math.nan]])

    assert float(support_loss(made, target)) == (1 + 3) / 2 / 2 + (1 + 9) / 2 / 2
    assert float(support_loss(made, torch.full((1, 3), math.nan))) == 0


def test_what_is_not_known_teaches_nothing() -> None:
    made = torch.tensor([[1.0, 2.0]], requires_grad=True)

    support_loss(made, torch.tensor([[0.0, math.nan]])).backward()  # type: ignore[no-untyped-call]

    assert made.grad is not None
    assert made.grad[0, 1] == 0
    assert torch.isfinite(made.grad).all()


def test_every_step_is_told_and_every_second_one_looks() -> None:
    made = trainer()

    told = list(made.run())

    assert [progress.step for progress in told] == [1, 2, 3, 4, 5, 6]
    assert [progress.held_out is not None for progress in told] == [False, True] * 3
    assert told[1].is_best
    assert told[0].left_s > 0 == told[-1].left_s
    assert all(math.isfinite(progress.loss) for progress in told)
    assert made.finished
    assert [row["step"] for row in made.history] == [2, 4, 6]
    assert not list(made.run())


def test_training_lowers_the_held_out_loss_and_denoises() -> None:
    noisy = make_movie(n_frames=60, side=32, noise=3)
    clean = make_movie(n_frames=60, side=32, noise=0)
    made = trainer(noisy, n_steps=120, batch_size=4, check_every=40, n_held_out=6,
                   learning_rate=1e-2)  # fmt: skip
    before = made.look()

    for _ in made.run():
        pass

    assert made.best["loss"] < 0.9 * before.loss  # noise alone leaves 0.7 of it
    assert made.best["predicted"] < 0.2  # noise stays noise
    error = np.square(denoise_support(noisy, made.network()) - clean).mean()
    assert error < 0.5 * np.square(noisy - clean).mean()


def test_an_interrupted_training_equals_an_uninterrupted_one() -> None:
    whole = trainer()
    losses = [progress.loss for progress in whole.run()]

    first = trainer()
    begun = [progress.loss for progress in first.run(until=3)]
    second = trainer()
    second.restore(first.state())
    ended = [progress.loss for progress in second.run()]

    assert begun + ended == losses
    np.testing.assert_array_equal(weights(second), weights(whole))
    assert second.history == whole.history
    best, other = whole.network().state_dict(), second.network().state_dict()
    assert all(torch.equal(best[name], other[name]) for name in best)


def test_a_training_can_be_stopped_and_continued_in_one_piece() -> None:
    whole, pieces = trainer(), trainer()
    list(whole.run())

    for until in (1, 4, 4, 99):
        list(pieces.run(until=until))

    np.testing.assert_array_equal(weights(pieces), weights(whole))


def test_a_look_changes_nothing() -> None:
    made = trainer()
    list(made.run(until=1))
    before, state = weights(made), made.state()

    first, second = made.look(), made.look()

    assert first == second
    assert made.history == []
    np.testing.assert_array_equal(weights(made), before)
    assert made.state() == state


@pytest.mark.parametrize(
    "changes", [{"channels": 0}, {"n_frames": 1, "widths": ()}, {"n_frames": 7}], ids=str
)
def test_other_branches_are_trained_too(changes: dict[str, Any]) -> None:
    made = trainer(layout=tiny_layout(**changes))
    before = weights(made)

    list(made.run())

    assert math.isfinite(made.best["loss"])
    changed = weights(made) != before
    assert changed.mean() > 0.5  # but for the holes and what is dead behind a ReLU


def test_the_rate_of_the_optimizer_follows_the_schedule() -> None:
    made = trainer(schedule="cosine")

    rates = []
    for _ in made.run():
        rates += [group["lr"] for group in made.optimizer.param_groups]

    assert rates == [made.recipe.rate(step) for step in range(6)]
    assert rates[0] > rates[-1]


def test_a_movie_whose_held_out_frames_are_all_bad_is_refused() -> None:
    movie = make_movie(n_frames=43)
    movie[1:][5::10] = np.nan  # the first middle is frame 1

    with pytest.raises(ValueError, match="hold no finite value"):
        trainer(movie)


def test_bad_frames_among_the_held_out_ones_are_passed_over() -> None:
    movie = make_movie(n_frames=43)
    movie[6] = movie[26] = np.nan
    made = trainer(movie, n_held_out=12)

    assert 0 < len(made.held_out) < 12
    assert math.isfinite(made.look().loss)


def test_the_last_network_is_given_where_none_was_judged() -> None:
    made = trainer()
    list(made.run(until=1))

    kept = np.concatenate([v.ravel() for v in state_arrays(made.network()).values()])

    assert not made.best
    np.testing.assert_array_equal(kept, weights(made))


def test_seeds_give_other_trainings() -> None:
    one, same, other = (trainer(seed=seed) for seed in (1, 1, 2))
    for made in (one, same, other):
        list(made.run(until=2))

    np.testing.assert_array_equal(weights(one), weights(same))
    assert not np.array_equal(weights(one), weights(other))


def test_a_state_of_another_training_is_refused() -> None:
    state = trainer().state()

    for other in (trainer(seed=1), trainer(make_movie(seed=1)), trainer(n_steps=7)):
        with pytest.raises(ValueError, match="another movie or other settings"):
            other.restore(state)
    for broken in (b"", b"PK\x03\x04", state[: len(state) // 2]):
        with pytest.raises(ValueError, match="cannot be read; start anew"):
            trainer().restore(broken)


def test_it_stops_when_the_held_out_frames_get_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([0.5, 0.4, 0.45, 0.41, 0.3])
    made = trainer(n_steps=100, patience=2)
    monkeypatch.setattr(made, "look", lambda: HeldOut(next(seen), 0.0, 0.0))

    told = [progress for progress in made.run() if progress.held_out]

    assert [progress.is_best for progress in told] == [True, True, False, False]
    assert made.step == 8
    assert made.best["step"] == 4


def test_without_patience_it_goes_on_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(n_steps=12, patience=None)
    monkeypatch.setattr(made, "look", lambda: HeldOut(float(made.step), 0.0, 0.0))

    list(made.run())

    assert made.step == 12
    assert made.best["step"] == 2


def test_the_best_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.2, 0.5, 0.6])
    made = trainer()
    monkeypatch.setattr(made, "look", lambda: HeldOut(next(losses), 0.0, 0.0))
    list(made.run(until=2))
    early = weights(made)

    list(made.run())

    kept = np.concatenate([v.ravel() for v in state_arrays(made.network()).values()])
    np.testing.assert_array_equal(kept, early)
    assert not np.array_equal(weights(made), early)


def test_a_network_that_learns_to_copy_is_refused() -> None:
    shared = make_movie(n_frames=40, side=48, noise=3, blur_px=1.5)
    made = trainer(
        shared, blind_spot=(1, 1), n_steps=150, batch_size=4, patch_px=32, check_every=25,
        layout=tiny_layout(channels=8), learning_rate=1e-2,
    )  # fmt: skip

    with pytest.raises(ValueError, match=r"learns to copy its input: after \d+ steps.* of 1 x 1"):
        list(made.run())

    assert made.history[-1]["passed"] > 0.5
    assert made.history[-1]["predicted"] > 0.5


def test_white_noise_does_not_pass() -> None:
    made = trainer(make_movie(n_frames=40, side=32), n_steps=40, check_every=40)

    (seen,) = [progress.held_out for progress in made.run() if progress.held_out]

    assert abs(seen.passed) < 0.15  # of about 800 pixels, each a draw
    assert not seen.is_copy


@pytest.mark.parametrize(
    ("predicted", "passed", "is_copy"),
    [(0.9, 0.9, True), (0.9, 0.1, False), (0.1, 0.9, False), (-0.5, 0.0, False)],
)
def test_a_copy_both_predicts_noise_and_lets_it_pass(
    predicted: float, passed: float, *, is_copy: bool
) -> None:
    assert HeldOut(0.5, predicted, passed).is_copy == is_copy


def test_a_loss_that_is_no_number_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    drawn = made.patches.draw
    monkeypatch.setattr(made.patches, "draw", lambda *given: drawn(*given) * np.float32(1e30))

    with pytest.raises(ValueError, match="no number any more in step 1; use a lower learning rate"):
        list(made.run())


def test_the_spot_comes_from_the_noise_unless_it_is_given() -> None:
    shared = make_movie(n_frames=60, side=48, noise=3, blur_px=0.6)

    measured, given = trainer(shared), trainer(shared, blind_spot=(1, 3))

    assert measured.recipe.layout.blind_spot == measured.spot.size != (1, 1)
    assert given.recipe.layout.blind_spot == (1, 3)
    assert given.spot.size == measured.spot.size
    assert trainer().recipe.layout.blind_spot == (1, 1)


def test_patches_are_not_turned_where_the_spot_is_not_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quarters: set[int] = set()

    def note(patches: Float32, **turned: Any) -> Float32:
        quarters.add(turned["quarters"])
        return patches

    monkeypatch.setattr("clgkit.denoising.support_training.turn", note)
    list(trainer(blind_spot=(1, 3), n_steps=12).run())
    assert quarters == {0}

    list(trainer(blind_spot=(3, 3), n_steps=12).run())
    assert quarters > {0}


def test_the_network_comes_with_all_that_is_needed_to_load_it() -> None:
    made = trainer()
    list(made.run())

    said = json.loads(json.dumps(made.configuration()))
    net = build_network(state_arrays(made.network()), sizes=said["layout"])

    assert SupportLayout.from_dict(said["layout"]) == net.layout == made.recipe.layout
    assert said["n_steps"] == 6
    assert said["best"]["step"] in (2, 4, 6)
    assert "net" not in said["best"]
    assert "blind spot of 1 x 1 pixels" in said["blind_spot"]


def test_missing_frames_and_planes_of_two_sizes_are_learnt_from() -> None:
    holed = make_movie()
    holed[4] = np.nan
    holed[:, :3] = np.nan
    made = SupportTrainer([holed, make_movie(side=14, seed=1)], recipe=tiny_recipe())

    told = list(made.run())

    assert all(math.isfinite(progress.loss) for progress in told)
    assert np.isfinite(weights(made)).all()


def test_threads_are_as_before_between_steps() -> None:
    before = torch.get_num_threads()

    for _ in trainer().run(until=2):
        assert torch.get_num_threads() == before
