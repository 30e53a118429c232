"""FedAvg: numbers that fit on paper, a naive twin, and a training that continues where it stopped."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedsyn.config import Classifier, FederatedTraining
from fedsyn.data.images import to_input
from fedsyn.federated.averaging import (
    Client,
    TrainingState,
    batches,
    build_optimizer,
    federated_averaging,
    learning_rate,
    sample_clients,
)
from fedsyn.federated.classification import cross_entropy, probabilities
from fedsyn.models.classifier import build_classifier
from fedsyn.models.initialize import initialize
from fedsyn.randomness import generator

# --- one weight w, loss (w - y)^2 / 2, whose gradient is w - y ---

PLAIN = FederatedTraining(rounds=1, batch_size=100, learning_rate=0.1, learning_rate_schedule="constant", momentum=0.0)


class OneWeight(nn.Module):
    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([start]))


def half_square(model: nn.Module, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
    return (model.weight - batch[0]).square().mean() / 2


def clients_with(*targets: list[float]) -> list[Client]:
    values = torch.tensor([target for own in targets for target in own])
    ends = np.cumsum([len(own) for own in targets])
    rows = [torch.arange(end - len(own), end) for own, end in zip(targets, ends, strict=True)]
    return [Client(client_id, (values,), own) for client_id, own in enumerate(rows)]


def train(settings: FederatedTraining, *targets: list[float], model: nn.Module | None = None, **rest) -> TrainingState:
    model = OneWeight() if model is None else model
    return federated_averaging(model, clients_with(*targets), half_square, settings, seed=0, stage="classifier", **rest)


def test_two_clients_of_one_and_three_samples_by_hand():
    model = OneWeight()
    state = train(PLAIN, [1.0], [5.0, 5.0, 5.0], model=model)
    # client 0: 0 - 0.1 (0 - 1) = 0.1; client 1: 0 - 0.1 (0 - 5) = 0.5; mean: (1 * 0.1 + 3 * 0.5) / 4 = 0.4
    assert state.weights[0].item() == pytest.approx(0.4)
    assert model.weight.item() == pytest.approx(0.4)
    # loss: (1 * 1/2 + 3 * 25/2) / 4
    assert state.history == [{"round": 1, "train_loss": pytest.approx(9.5)}]
    assert state.rounds_done == 1


def test_three_clients_over_two_rounds_by_hand():
    state = train(PLAIN.model_copy(update={"rounds": 2}), [1.0], [5.0, 5.0, 5.0], [2.0] * 4)
    # round 1: 0.1, 0.5, 0.2 with weights 1:3:4 -> (0.1 + 1.5 + 0.8) / 8 = 0.3
    # round 2: 0.3 - 0.1 (0.3 - 1) = 0.37; 0.77; 0.47 -> (0.37 + 2.31 + 1.88) / 8 = 0.57
    assert state.weights[0].item() == pytest.approx(0.57)
    assert [entry["train_loss"] for entry in state.history] == pytest.approx(
        [(0.5 + 3 * 12.5 + 4 * 2) / 8, (0.7**2 / 2 + 3 * 4.7**2 / 2 + 4 * 1.7**2 / 2) / 8]
    )


def test_two_local_epochs_are_two_steps():
    state = train(PLAIN.model_copy(update={"local_epochs": 2}), [1.0])
    assert state.weights[0].item() == pytest.approx(0.19)  # 0.1 - 0.1 (0.1 - 1)
    assert state.history[0]["train_loss"] == pytest.approx((0.5 + 0.9**2 / 2) / 2)


def test_momentum_lasts_within_a_round_and_not_beyond_it():
    settings = PLAIN.model_copy(update={"momentum": 0.5, "local_epochs": 2})
    # step 1: v = -1, w = 0.1; step 2: v = -0.5 - 0.9 = -1.4, w = 0.24
    assert train(settings, [1.0]).weights[0].item() == pytest.approx(0.24)
    # a new round starts without velocity: v = -0.76, w = 0.316; v = -0.38 - 0.684 = -1.064, w = 0.4224
    twice = train(settings.model_copy(update={"rounds": 2}), [1.0])
    assert twice.weights[0].item() == pytest.approx(0.4224)


def test_a_gradient_is_clipped_to_its_largest_norm():
    state = train(PLAIN.model_copy(update={"gradient_clip": 0.5}), [5.0])
    assert state.weights[0].item() == pytest.approx(0.05, rel=1e-4)


def test_weight_decay_pulls_towards_zero():
    state = train(PLAIN.model_copy(update={"weight_decay": 0.1}), [2.0], model=OneWeight(1.0))
    assert state.weights[0].item() == pytest.approx(1 - 0.1 * (-1 + 0.1))


def test_the_moving_average_by_hand():
    seen = []
    settings = PLAIN.model_copy(update={"rounds": 2, "ema_decay": 0.5})
    model = OneWeight()
    state = train(settings, [1.0], [5.0] * 3, model=model, after_round=lambda state: seen.append(model.weight.item()))
    # theta: 0 -> 0.4 -> 0.25 * 0.46 + 0.75 * 0.86 = 0.76; decays: 1/10 and 2/11, early rounds count little
    first = 0.1 * 0.0 + 0.9 * 0.4
    second = 2 / 11 * first + 9 / 11 * 0.76
    assert state.weights[0].item() == pytest.approx(0.76)
    assert state.averaged[0].item() == pytest.approx(second)
    assert state.result() is state.averaged
    assert seen == pytest.approx([first, second])  # what is measured after a round is what would be used
    assert model.weight.item() == pytest.approx(second)


def test_the_moving_average_never_decays_more_slowly_than_asked():
    state = train(PLAIN.model_copy(update={"rounds": 1, "ema_decay": 0.05}), [1.0])
    assert state.averaged[0].item() == pytest.approx(0.95 * 0.1)


def test_without_a_moving_average_the_weights_are_the_result():
    state = train(PLAIN, [1.0])
    assert state.averaged is None
    assert state.result() is state.weights


def test_clients_without_samples_change_nothing():
    with_empty, without = train(PLAIN, [1.0], [], [5.0] * 3), train(PLAIN, [1.0], [5.0] * 3)
    assert with_empty.weights[0].item() == without.weights[0].item()


def test_no_samples_at_all_are_refused():
    with pytest.raises(ValueError, match="classifier: no client has a sample"):
        train(PLAIN, [], [])


@pytest.mark.parametrize("target", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_client_and_round(target):
    with pytest.raises(ValueError, match=r"client 1 is (nan|inf) in round 1;.*learning_rate"):
        train(PLAIN, [1.0], [target])


def test_a_loss_that_explodes_later_names_its_round():
    settings = PLAIN.model_copy(update={"rounds": 50, "learning_rate": 1e6})
    with pytest.raises(ValueError, match=r"client 0 is (nan|inf) in round [2-9];"):
        train(settings, [1.0])


def test_the_global_weights_are_not_shared_with_the_model():
    model = OneWeight()
    state = train(PLAIN, [1.0], model=model)
    with torch.no_grad():
        model.weight.fill_(99.0)
    assert state.weights[0].item() == pytest.approx(0.1)


# --- the naive twin: a copy of the model for each client, plain loops, plain optimisers ---


def naive_federated_averaging(model: nn.Module, clients: list[Client], settings: FederatedTraining) -> nn.Module:
    for r in range(settings.rounds):
        order = generator(3, "naive", "cohort", round_index=r).permutation(len(clients))
        cohort = [clients[k] for k in sorted(order[: math.ceil(settings.client_fraction * len(clients))])]
        rate = settings.learning_rate * (1 + math.cos(math.pi * r / settings.rounds)) / 2
        locals_ = []
        for client in cohort:
            local, rng = (
                copy.deepcopy(model),
                generator(3, "naive", "local training", round_index=r, client_id=client.client_id),
            )
            if settings.optimizer == "sgd":
                optimizer = torch.optim.SGD(
                    local.parameters(),
                    rate,
                    settings.momentum,
                    weight_decay=settings.weight_decay,
                    foreach=False,
                )
            else:
                optimizer = torch.optim.AdamW(
                    local.parameters(),
                    rate,
                    (settings.momentum, 0.999),
                    weight_decay=settings.weight_decay,
                    foreach=False,
                )
            for _ in range(settings.local_epochs):
                order = rng.permutation(len(client.indices))
                for start in range(0, len(order), settings.batch_size):
                    rows = client.indices[order[start : start + settings.batch_size]]
                    images, labels = client.tensors[0][rows], client.tensors[1][rows]
                    optimizer.zero_grad()
                    F.cross_entropy(local(images), labels).backward()
                    optimizer.step()
            locals_.append(local)
        total = sum(len(client.indices) for client in cohort)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                terms = [
                    len(client.indices) / total * local.get_parameter(name)
                    for client, local in zip(cohort, locals_, strict=True)
                ]
                parameter.copy_(torch.stack(terms).sum(0))
    return model


def small_problem() -> tuple[nn.Module, list[Client]]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (60, 8, 8, 1), np.uint8))
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    owner = rng.choice(5, 60, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    clients = [Client(k, (images, labels), torch.from_numpy(np.flatnonzero(owner == k))) for k in range(5)]
    model = build_classifier(Classifier(width=8), 1, 8, 8, 3)
    initialize(model, 0, "classifier")
    return model, clients


@pytest.mark.parametrize("client_fraction", [1.0, 0.5])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
        {"optimizer": "adamw", "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 1e-2},
    ],
    ids=["sgd", "adamw"],
)
def test_federated_averaging_agrees_with_its_naive_twin(optimizer, client_fraction):
    settings = FederatedTraining(rounds=3, local_epochs=2, batch_size=8, client_fraction=client_fraction, **optimizer)
    model, clients = small_problem()
    # In double precision: AdamW divides by a gradient's size, and so makes steps of rounding errors.
    model, images = model.double(), to_input(clients[0].tensors[0]).double()
    clients = [replace(client, tensors=(images, client.tensors[1])) for client in clients]
    start = [weight.clone() for weight in model.parameters()]
    slow = naive_federated_averaging(copy.deepcopy(model), clients, settings)

    def objective(model: nn.Module, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    federated_averaging(model, clients, objective, settings, seed=3, stage="naive")
    for weight, expected in zip(model.parameters(), slow.parameters(), strict=True):
        assert (weight - expected).abs().max() < 1e-9
    moved = [(weight - first).abs().max() for weight, first in zip(model.parameters(), start, strict=True)]
    assert max(moved) > 1e-3


def test_the_order_in_which_clients_are_given_does_not_matter():
    settings = FederatedTraining(rounds=2, batch_size=8)
    results = []
    for order in (slice(None), slice(None, None, -1)):
        model, clients = small_problem()
        federated_averaging(model, clients[order], cross_entropy("none"), settings, seed=0, stage="classifier")
        results.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.allclose(*results, atol=1e-6)


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_training_that_continues_is_bit_equal_to_one_that_was_never_stopped(stopped_after, ema_decay):
    settings = Classifier(rounds=4, batch_size=8, client_fraction=0.6, ema_decay=ema_decay, augmentation="shift-flip")
    objective = cross_entropy(settings.augmentation)
    saved = {}

    def save(state: TrainingState) -> None:
        saved[state.rounds_done] = copy.deepcopy(state)

    model, clients = small_problem()
    whole = federated_averaging(model, clients, objective, settings, seed=0, stage="classifier", after_round=save)

    resumed_model, clients = small_problem()
    initialize(resumed_model, 99, "other weights: all that counts is in the state")
    resumed = federated_averaging(
        resumed_model, clients, objective, settings, seed=0, stage="classifier", state=saved[stopped_after]
    )
    assert resumed.history == whole.history
    assert resumed.rounds_done == whole.rounds_done == 4
    for one, other in zip(whole.weights + whole.result(), resumed.weights + resumed.result(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(model.parameters(), resumed_model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_training_is_not_trained_further():
    settings = FederatedTraining(rounds=2, batch_size=8)
    model, clients = small_problem()
    state = federated_averaging(model, clients, cross_entropy("none"), settings, seed=0, stage="classifier")
    weights = [weight.clone() for weight in state.weights]
    initialize(model, 99, "classifier")
    again = federated_averaging(
        model, clients, cross_entropy("none"), settings, seed=0, stage="classifier", state=state
    )
    assert len(again.history) == 2
    for weight, parameter in zip(weights, model.parameters(), strict=True):
        assert torch.equal(weight, parameter)


def test_the_global_random_state_neither_matters_nor_changes():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model, clients = small_problem()
        torch.set_rng_state(before)
        settings = Classifier(rounds=1, batch_size=8, augmentation="shift-flip")
        federated_averaging(model, clients, cross_entropy("shift-flip"), settings, seed=0, stage="classifier")
        assert torch.equal(torch.get_rng_state(), before)
        results.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.equal(*results)


# --- batches, cohorts, learning rates ---


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 4), st.integers(0, 99))
def test_every_epoch_sees_every_sample_once(num_samples, batch_size, epochs, seed):
    settings = FederatedTraining(batch_size=batch_size, local_epochs=epochs)
    drawn = list(batches(num_samples, settings, np.random.default_rng(seed)))
    per_epoch = math.ceil(num_samples / batch_size)
    assert len(drawn) == epochs * per_epoch
    assert max(len(rows) for rows in drawn) <= batch_size
    for epoch in range(epochs):
        rows = np.concatenate(drawn[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(rows) == list(range(num_samples))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 30), st.integers(0, 99))
def test_local_steps_are_exact_and_use_every_sample_before_one_comes_again(num_samples, batch_size, steps, seed):
    settings = FederatedTraining(batch_size=batch_size, local_steps=steps, local_epochs=3)
    drawn = list(batches(num_samples, settings, np.random.default_rng(seed)))
    assert len(drawn) == steps
    counts = np.bincount(np.concatenate(drawn), minlength=num_samples)
    assert counts.max() - counts.min() <= 1


def test_each_epoch_is_shuffled_anew():
    first, second = batches(100, FederatedTraining(batch_size=100, local_epochs=2), np.random.default_rng(0))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize(
    ("num_clients", "fraction", "drawn"),
    [
        (10, 1.0, 10),
        (10, 0.1, 1),
        (10, 0.25, 3),
        (3, 0.01, 1),
        (1, 0.5, 1),
        (100, 0.07, 7),
        (50, 0.14, 7),
        (100, 0.55, 55),
    ],
)
def test_a_cohort_is_the_share_of_the_clients_rounded_up(num_clients, fraction, drawn):
    clients = clients_with(*[[1.0]] * num_clients)
    cohort = sample_clients(clients, fraction, np.random.default_rng(0))
    numbers = [client.client_id for client in cohort]
    assert len(numbers) == drawn
    assert numbers == sorted(set(numbers))


def test_every_client_is_drawn_as_often_as_every_other():
    clients, rng = clients_with(*[[1.0]] * 5), np.random.default_rng(0)
    drawn = [client.client_id for _ in range(2000) for client in sample_clients(clients, 0.4, rng)]
    assert np.bincount(drawn) / 2000 == pytest.approx(0.4, abs=0.04)


def test_the_cosine_starts_at_the_learning_rate_and_ends_near_zero():
    settings = FederatedTraining(rounds=4, learning_rate=0.2)
    rates = [learning_rate(settings, round_index) for round_index in range(4)]
    assert rates == pytest.approx([0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5))])


def test_a_constant_rate_is_constant():
    settings = FederatedTraining(rounds=4, learning_rate=0.2, learning_rate_schedule="constant")
    assert [learning_rate(settings, round_index) for round_index in range(4)] == [0.2] * 4


def test_the_optimisers_are_those_of_the_settings():
    parameters = [nn.Parameter(torch.zeros(1))]
    settings = FederatedTraining(momentum=0.7, weight_decay=0.01)
    sgd = build_optimizer(parameters, settings, 0.3)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.3, 0.7, 0.01)
    adamw = build_optimizer(parameters, settings.model_copy(update={"optimizer": "adamw"}), 0.3)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["betas"]) == (0.3, (0.7, 0.999))


# --- measuring ---


def test_probabilities_do_not_depend_on_the_batch_and_leave_the_model_in_training_mode():
    model, clients = small_problem()
    images = clients[0].tensors[0]
    whole, parts = probabilities(model, images), probabilities(model, images, batch_size=7)
    assert model.training
    assert whole.shape == (60, 3)
    assert whole.sum(1) == pytest.approx(torch.ones(60))
    assert torch.allclose(whole, parts, atol=1e-6)
