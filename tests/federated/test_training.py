"""The round loop: numbers that fit on paper, defined outcomes for bad updates, and a training that continues."""

import copy
import math

import pytest
import torch
from torch import nn

from fedsyn.config import Classifier, Execution, FederatedTraining
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.client import Client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.initialize import initialize
from tests.federated.problems import PLAIN, OneWeight, settings, small_problem, train


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_two_clients_of_one_and_three_samples_by_hand():
    model = OneWeight()
    state = train(PLAIN, [1.0], [5.0, 5.0, 5.0], model=model)
    # client 0: 0 - 0.1 (0 - 1) = 0.1; client 1: 0 - 0.1 (0 - 5) = 0.5; mean: (1 * 0.1 + 3 * 0.5) / 4 = 0.4
    assert state.weights.item() == pytest.approx(0.4)
    assert model.weight.item() == pytest.approx(0.4)
    # loss: (1 * 1/2 + 3 * 25/2) / 4
    assert state.history == [{"round": 1, "clients": 2, "train_loss": pytest.approx(9.5)}]
    assert state.rounds_done == 1


def test_three_clients_over_two_rounds_by_hand():
    state = train(settings(rounds=2), [1.0], [5.0, 5.0, 5.0], [2.0] * 4)
    # round 1: 0.1, 0.5, 0.2 with weights 1:3:4 -> (0.1 + 1.5 + 0.8) / 8 = 0.3
    # round 2: 0.3 - 0.1 (0.3 - 1) = 0.37; 0.77; 0.47 -> (0.37 + 2.31 + 1.88) / 8 = 0.57
    assert state.weights.item() == pytest.approx(0.57)
    assert [entry["train_loss"] for entry in state.history] == pytest.approx(
        [(0.5 + 3 * 12.5 + 4 * 2) / 8, (0.7**2 / 2 + 3 * 4.7**2 / 2 + 4 * 1.7**2 / 2) / 8]
    )


def test_two_local_epochs_are_two_steps():
    state = train(settings(local_epochs=2), [1.0])
    assert state.weights.item() == pytest.approx(0.19)  # 0.1 - 0.1 (0.1 - 1)
    assert state.history[0]["train_loss"] == pytest.approx((0.5 + 0.9**2 / 2) / 2)


def test_momentum_lasts_within_a_round_and_not_beyond_it():
    # step 1: v = -1, w = 0.1; step 2: v = -0.5 - 0.9 = -1.4, w = 0.24
    assert train(settings(momentum=0.5, local_epochs=2), [1.0]).weights.item() == pytest.approx(0.24)
    # a new round starts without velocity: v = -0.76, w = 0.316; v = -0.38 - 0.684 = -1.064, w = 0.4224
    twice = train(settings(momentum=0.5, local_epochs=2, rounds=2), [1.0])
    assert twice.weights.item() == pytest.approx(0.4224)


def test_a_gradient_is_clipped_to_its_largest_norm():
    assert train(settings(gradient_clip=0.5), [5.0]).weights.item() == pytest.approx(0.05, rel=1e-4)


def test_weight_decay_pulls_towards_zero():
    state = train(settings(weight_decay=0.1), [2.0], model=OneWeight(1.0))
    assert state.weights.item() == pytest.approx(1 - 0.1 * (-1 + 0.1))


def test_the_moving_average_by_hand():
    seen, model = [], OneWeight()
    state = train(
        settings(rounds=2, ema_decay=0.5),
        [1.0],
        [5.0] * 3,
        model=model,
        after_round=lambda state: seen.append(model.weight.item()),
    )
    # theta: 0 -> 0.4 -> 0.25 * 0.46 + 0.75 * 0.86 = 0.76; decays: 1/10 and 2/11, early rounds count little
    first = 0.1 * 0.0 + 0.9 * 0.4
    second = 2 / 11 * first + 9 / 11 * 0.76
    assert state.weights.item() == pytest.approx(0.76)
    assert state.averaged.item() == pytest.approx(second)
    assert state.result() is state.averaged
    assert seen == pytest.approx([first, second])  # what is measured after a round is what would be used
    assert model.weight.item() == pytest.approx(second)


def test_the_moving_average_never_decays_more_slowly_than_asked():
    assert train(settings(ema_decay=0.05), [1.0]).averaged.item() == pytest.approx(0.95 * 0.1)


def test_without_a_moving_average_the_weights_are_the_result():
    state = train(PLAIN, [1.0])
    assert state.averaged is None
    assert state.result() is state.weights


def test_the_weights_are_not_shared_with_the_model():
    model = OneWeight()
    state = train(PLAIN, [1.0], model=model)
    with torch.no_grad():
        model.weight.fill_(99.0)
    assert state.weights.item() == pytest.approx(0.1)


# --- clients that have nothing, answer nothing, or answer nonsense ---


def test_clients_without_samples_change_nothing():
    with_empty, without = train(PLAIN, [1.0], [], [5.0] * 3), train(PLAIN, [1.0], [5.0] * 3)
    assert with_empty.weights.item() == without.weights.item()


def test_no_samples_at_all_are_refused():
    with pytest.raises(ValueError, match="classifier: no client has a sample"):
        train(PLAIN, [], [])


@pytest.mark.parametrize("target", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_client_and_round(target):
    with pytest.raises(ValueError, match=r"loss of client 1 is (nan|inf) in round 1;.*learning_rate.*'exclude'"):
        train(PLAIN, [1.0], [target])


def test_a_loss_that_explodes_later_names_its_round():
    with pytest.raises(ValueError, match=r"client 0 .* in round [1-9];"):
        train(settings(rounds=50, learning_rate=1e3), [1.0])


def test_an_update_that_moves_a_weight_too_far_is_named_before_it_is_averaged():
    with pytest.raises(ValueError, match=r"update of client 1 has a largest change of 1e\+04 in round 1"):
        train(PLAIN, [1.0], [1e5])


@pytest.mark.parametrize("engine", ["sequential", "vectorized"])
@pytest.mark.parametrize("target", [float("nan"), 1e5])
def test_an_update_that_is_no_number_can_be_left_out_by_name(target, engine, caplog):
    chosen = settings(nonfinite_updates="exclude")
    state = train(chosen, [1.0], [target, 2.0], [5.0] * 3, execution=Execution(engine=engine))
    # as if client 1 had not been drawn: (1 * 0.1 + 3 * 0.5) / 4, and its loss does not count
    assert state.weights.item() == pytest.approx(0.4)
    assert state.history[0] == {"round": 1, "clients": 2, "train_loss": pytest.approx(9.5)}
    assert "client 1" in caplog.text
    assert "round 1" in caplog.text


def test_a_round_in_which_no_update_is_finite_is_refused_even_so():
    with pytest.raises(ValueError, match="no client's update is finite in round 1"):
        train(settings(nonfinite_updates="exclude"), [float("nan")], [float("inf")])


def test_a_round_that_no_client_answers_leaves_the_weights_and_says_so(caplog):
    seen = []
    state = train(
        settings(rounds=40, dropout_rate=0.8), [1.0], [5.0] * 3, after_round=lambda s: seen.append(s.weights.item())
    )
    silent = [entry["round"] for entry in state.history if entry["clients"] == 0]
    assert silent  # 0.8^2 of the rounds
    for number in silent:
        assert seen[number - 1] == (seen[number - 2] if number > 1 else 0.0)
        assert math.isnan(state.history[number - 1]["train_loss"])
        assert f"no client answered in round {number};" in caplog.text
    assert state.weights.item() > 0.5


def test_weights_that_explode_at_the_server_are_refused():
    with pytest.raises(ValueError, match=r"averaged weights are not finite after round \d+; .*server.learning_rate"):
        train(settings(server={"algorithm": "fedavg", "learning_rate": 1e40}), [1.0])


# --- continuing ---


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.5},
        {"server": {"algorithm": "fedadam"}},
        {"server": {"algorithm": "scaffold"}, "momentum": 0},
        {"normalization": "batch"},
        {"dropout_rate": 0.3, "straggler_rate": 0.3},
    ],
    ids=["plain", "moving average", "fedadam", "scaffold", "batch norm", "dropout"],
)
def test_a_training_that_continues_is_bit_equal_to_one_that_was_never_stopped(stopped_after, changes, tmp_path):
    chosen = Classifier(rounds=4, batch_size=8, client_fraction=0.6, augmentation="shift-flip", **changes)
    normalization = {"normalization": chosen.normalization}

    def save(state: TrainingState) -> None:
        state.save(tmp_path / f"{state.rounds_done}.safetensors")

    def run(model: nn.Module, clients: list, **rest) -> TrainingState:
        return federated_training(
            model, clients, CrossEntropy("shift-flip", 8), chosen, seed=0, stage="classifier", **rest
        )

    model, clients = small_problem(**normalization)
    whole = run(model, clients, after_round=save)
    resumed_model, clients = small_problem(**normalization)
    initialize(resumed_model, 99, "other weights: all that counts is in the state")
    saved = TrainingState.restore(tmp_path / f"{stopped_after}.safetensors")
    resumed = run(resumed_model, clients, state=saved)
    assert str(resumed.history) == str(whole.history)  # NaN is not equal to itself
    assert resumed.rounds_done == whole.rounds_done == 4
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(resumed.result(), whole.result())
    assert all(torch.equal(resumed.memory[name], whole.memory[name]) for name in whole.memory)
    for one, other in zip(model.state_dict().values(), resumed_model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_training_is_not_trained_further():
    chosen = FederatedTraining(rounds=2, batch_size=8)
    model, clients = small_problem()
    objective = CrossEntropy("none", 8)
    state = federated_training(model, clients, objective, chosen, seed=0, stage="classifier")
    weights = vector(model)
    initialize(model, 99, "classifier")
    again = federated_training(model, clients, objective, chosen, seed=0, stage="classifier", state=copy.copy(state))
    assert len(again.history) == 2
    assert torch.equal(vector(model), weights)


# --- what must not matter ---


def test_the_order_in_which_clients_are_given_does_not_matter():
    results = []
    for order in (slice(None), slice(None, None, -1)):
        model, clients = small_problem()
        chosen = FederatedTraining(rounds=2, batch_size=8)
        federated_training(model, clients[order], CrossEntropy("none", 8), chosen, seed=0, stage="classifier")
        results.append(vector(model))
    assert torch.equal(*results)


def test_the_global_random_state_neither_matters_nor_changes():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model, clients = small_problem()
        torch.set_rng_state(before)
        chosen = Classifier(rounds=1, batch_size=8, augmentation="shift-flip")
        federated_training(model, clients, CrossEntropy("shift-flip", 8), chosen, seed=0, stage="classifier")
        assert torch.equal(torch.get_rng_state(), before)
        results.append(vector(model))
    assert torch.equal(*results)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_what_full_precision_learns(precision):
    results = []
    for chosen in (precision, "fp32"):
        model, clients = small_problem()
        training = FederatedTraining(rounds=3, batch_size=8, learning_rate=0.01, precision=chosen)
        state = federated_training(model, clients, CrossEntropy("none", 8), training, seed=0, stage="classifier")
        results.append(state)
    half, full = results
    assert half.weights.dtype == torch.float32
    assert not torch.equal(half.weights, full.weights)
    losses = [entry["train_loss"] for entry in full.history]
    assert [entry["train_loss"] for entry in half.history] == pytest.approx(losses, rel=0.03)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_no_step_is_lost_to_loss_scaling_where_clients_hold_one_class(momentum):
    """Their gradients are large, and a scale that overflows would skip the few steps that a client takes."""
    results = []
    for precision in ("fp16", "fp32"):
        model, clients = small_problem()
        images, labels = clients[0].tensors
        own = [Client(k, (images, labels), torch.nonzero(labels == k).flatten()) for k in range(3)]
        chosen = FederatedTraining(
            rounds=3, batch_size=8, local_steps=4, learning_rate=0.02, momentum=momentum, precision=precision
        )
        state = federated_training(model, own, CrossEntropy("none", 8), chosen, seed=0, stage="classifier")
        results.append([entry["train_loss"] for entry in state.history])
    half, full = results
    assert half == pytest.approx(full, rel=0.02)
