"""BatchNorm under federation: statistics that are averaged, measured anew, or kept nowhere."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsyn.config import Classifier
from fedsyn.data.images import to_input
from fedsyn.federated.classification import CrossEntropy, probabilities
from fedsyn.federated.client import Client
from fedsyn.federated.exact import STEP
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.classifier import build_classifier
from fedsyn.models.initialize import initialize

SETTINGS = Classifier(width=8, rounds=1, batch_size=100, learning_rate=0.05, normalization="batch")


def problem(*sizes: int, statistics: str = "aggregate") -> tuple[nn.Module, list[Client]]:
    """A CNN with BatchNorm, and clients of these sizes; each one's images are darker than those of the next."""
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    low, high = 40 * owners, 40 * owners + 60
    images = rng.integers(low[:, None, None, None], high[:, None, None, None], (len(owners), 8, 8, 1)).astype(np.uint8)
    tensors = torch.from_numpy(images), torch.from_numpy(rng.integers(0, 3, len(owners)))
    model = build_classifier(SETTINGS.model_copy(update={"batch_statistics": statistics}), 1, 8, 8, 3)
    initialize(model, 0, "classifier")
    return model, [Client(k, tensors, torch.from_numpy(np.flatnonzero(owners == k))) for k in range(len(sizes))]


def train(model: nn.Module, clients: list[Client], settings: Classifier = SETTINGS, **rest) -> TrainingState:
    return federated_training(model, clients, CrossEntropy("none", 8), settings, seed=0, stage="classifier", **rest)


def images_of(client: Client) -> Tensor:
    return to_input(client.tensors[0][client.indices])


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance (C,) of the channels of (B, C, H, W)."""
    return x.mean((0, 2, 3)), x.transpose(0, 1).flatten(1).var(1)


def statistics_of(model: nn.Module) -> Tensor:
    return torch.cat([s for norm in (model.norm1, model.norm2) for s in (norm.running_mean, norm.running_var)])


def variances(statistics: Tensor) -> Tensor:
    return torch.cat([statistics[8:16], statistics[32:48]])


# --- aggregate ---


def test_aggregated_statistics_are_the_mean_of_the_clients_weighted_by_samples():
    model, clients = problem(2, 6)
    start = copy.deepcopy(model)
    state = train(model, clients)
    own = []
    for client in clients:  # in a batch's forward pass, before the weights move
        local = copy.deepcopy(start)
        local(images_of(client))
        own.append(statistics_of(local))
    assert torch.allclose(state.statistics, 0.25 * own[0] + 0.75 * own[1], atol=1e-6)
    assert torch.equal(statistics_of(model), state.statistics)
    # the first layer by hand: a tenth of the way from 0 and 1 to the moments of the client's batch
    means, spreads = zip(*(moments(start.conv1(images_of(client))) for client in clients), strict=True)
    assert torch.allclose(model.norm1.running_mean, 0.1 * (0.25 * means[0] + 0.75 * means[1]), atol=1e-6)
    assert torch.allclose(model.norm1.running_var, 0.9 + 0.1 * (0.25 * spreads[0] + 0.75 * spreads[1]), atol=1e-6)


def test_aggregated_statistics_do_not_depend_on_what_the_server_makes_of_the_weights():
    states = []
    for server in ({"algorithm": "fedavg"}, {"algorithm": "fedadam", "learning_rate": 1.0}, {"algorithm": "median"}):
        model, clients = problem(2, 3)
        states.append(train(model, clients, SETTINGS.model_validate(SETTINGS.model_dump() | {"server": server})))
    assert not torch.allclose(states[0].weights, states[1].weights, atol=0.1)
    for state in states[1:]:
        assert torch.equal(state.statistics, states[0].statistics)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("algorithm", ["fedadam", "fedyogi", "fedavgm"])
def test_variances_stay_variances_under_large_server_steps(algorithm, recompute):
    server = {"algorithm": algorithm, "learning_rate": 0.1}
    settings = SETTINGS.model_validate(SETTINGS.model_dump() | {"server": server, "rounds": 6, "batch_size": 2})
    model, clients = problem(1, 4, 7)
    seen = []
    train(model, clients, settings, recompute=recompute, after_round=lambda state: seen.append(state.statistics))
    assert len(seen) == 6
    assert all(torch.isfinite(statistics).all() for statistics in seen)
    assert all((variances(statistics) >= 0).all() for statistics in seen)
    assert torch.isfinite(probabilities(model, clients[0].tensors[0])).all()


@pytest.mark.parametrize("recompute", [False, True])
def test_what_is_measured_after_a_round_has_the_statistics_of_that_round(recompute):
    model, clients = problem(2, 3)
    seen = []

    def compare(state: TrainingState) -> None:
        seen.append(torch.equal(statistics_of(model), state.statistics))

    train(model, clients, SETTINGS.model_copy(update={"rounds": 3}), recompute=recompute, after_round=compare)
    assert seen == [True] * 3


# --- recompute ---


def test_recomputed_statistics_are_those_of_the_pooled_clients_under_the_new_weights():
    model, clients = problem(10, 30, 20)  # one batch each
    before = model.conv1.weight.clone()
    train(model, clients, recompute=True)
    assert not torch.equal(model.conv1.weight, before)
    mean, variance = moments(model.conv1(torch.cat([images_of(client) for client in clients])))
    assert torch.allclose(model.norm1.running_mean, mean, atol=1e-5)
    # up to Bessel's correction, which each client makes for its own 640 pixels or more
    assert torch.allclose(model.norm1.running_var, variance, rtol=1 / 600, atol=1e-6)


def test_recomputed_variances_follow_the_law_of_total_variance():
    model, clients = problem(2, 6)
    train(model, clients, recompute=True)
    means, spreads = zip(*(moments(model.conv1(images_of(client))) for client in clients), strict=True)
    mean = 0.25 * means[0] + 0.75 * means[1]
    within = 0.25 * spreads[0] + 0.75 * spreads[1]
    between = 0.25 * (means[0] - mean).square() + 0.75 * (means[1] - mean).square()
    assert between.max() > 0.1 * within.min()
    assert torch.allclose(model.norm1.running_mean, mean, atol=1e-6)
    assert torch.allclose(model.norm1.running_var, within + between, atol=1e-6)


def test_recomputing_leaves_weights_and_momenta_alone():
    trained = []
    for recompute in (False, True):
        model, clients = problem(5, 9)
        settings = SETTINGS.model_copy(update={"rounds": 3, "batch_size": 4})
        trained.append(train(model, clients, settings, recompute=recompute).weights)
        assert (model.norm1.momentum, model.norm2.momentum) == (0.1, 0.1)
        assert model.training
    assert torch.equal(*trained)


def test_a_client_measures_its_statistics_over_one_epoch_whatever_it_trains():
    measured = []
    for steps in (1, 7):
        model, clients = problem(6, 6)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)
        settings = SETTINGS.model_copy(update={"local_steps": steps, "batch_size": 3, "learning_rate": 1e-12})
        measured.append(train(model, clients, settings, recompute=True).statistics)
    assert torch.allclose(*measured, atol=1e-5)


# --- local ---


def test_local_statistics_are_neither_sent_nor_kept():
    model, clients = problem(4, 6, statistics="local")
    state = train(model, clients, SETTINGS.model_copy(update={"batch_statistics": "local"}))
    assert state.statistics.shape == (0,)
    assert dict(model.named_buffers()) == {}


def test_a_prediction_with_local_statistics_uses_those_of_the_images_at_hand():
    model, clients = problem(4, 6, statistics="local")
    train(model, clients, SETTINGS.model_copy(update={"batch_statistics": "local"}))
    own = images_of(clients[0])
    expected = copy.deepcopy(model).train()(own).softmax(1)  # what training does too: the batch's own moments
    bytes_ = clients[0].tensors[0]
    assert torch.allclose(probabilities(model, bytes_[clients[0].indices]), expected, atol=1e-6)
    among_others = probabilities(model, bytes_)[clients[0].indices]
    assert not torch.allclose(among_others, expected, atol=1e-3)


# --- small clients, and a training that continues ---


@pytest.mark.parametrize("recompute", [False, True])
def test_a_client_with_a_single_image_gives_finite_statistics(recompute):
    model, clients = problem(1)
    state = train(model, clients, SETTINGS.model_copy(update={"rounds": 3}), recompute=recompute)
    assert torch.isfinite(state.statistics).all()
    assert (variances(state.statistics) >= 0).all()
    assert torch.isfinite(state.weights).all()


@pytest.mark.parametrize(("recompute", "least"), [(False, -5 * STEP), (True, 0)])
def test_a_channel_without_variance_has_none_to_a_step_of_the_sum_for_each_client(recompute, least):
    """Black images, weights of zero. An average is a sum of rounded changes; what is pooled has nothing to lose."""
    model, clients = problem(*[2] * 5)
    clients[0].tensors[0].zero_()
    with torch.no_grad():
        model.conv1.weight.zero_()
    settings = SETTINGS.model_copy(update={"rounds": 6, "local_steps": 45, "batch_size": 2, "learning_rate": 1e-30})
    seen = []
    train(model, clients, settings, recompute=recompute, after_round=lambda state: seen.append(state.statistics))
    assert min(variances(statistics).min().item() for statistics in seen) >= least
    assert variances(seen[-1]).max() < 1e-9
    assert torch.isfinite(probabilities(model, clients[0].tensors[0])).all()


@pytest.mark.parametrize("recompute", [False, True])
def test_a_training_that_continues_keeps_its_statistics_to_the_bit(recompute, tmp_path):
    settings = SETTINGS.model_copy(update={"rounds": 4, "batch_size": 4})
    path = tmp_path / "state.safetensors"
    model, clients = problem(3, 5, 8)
    whole = train(
        model,
        clients,
        settings,
        recompute=recompute,
        after_round=lambda state: state.save(path) if state.rounds_done == 2 else None,
    )
    resumed_model, clients = problem(3, 5, 8)
    resumed = train(resumed_model, clients, settings, recompute=recompute, state=TrainingState.restore(path))
    assert torch.equal(resumed.statistics, whole.statistics)
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(statistics_of(resumed_model), statistics_of(model))


# --- batches of one image ---


def tiny_images_on_a_resnet() -> tuple[nn.Module, list[Client]]:
    """A ResNet halves images of 8 pixels to a single one, where BatchNorm has nothing to compare an image with."""
    _, clients = problem(1, 3)
    settings = SETTINGS.model_copy(update={"architecture": "resnet18", "batch_statistics": "local"})
    model = build_classifier(settings, 1, 8, 8, 3)
    initialize(model, 0, "classifier")
    return model, clients


def test_a_batch_of_one_image_is_filled_up_with_itself():
    model, clients = tiny_images_on_a_resnet()
    state = train(model, clients, SETTINGS.model_copy(update={"batch_size": 2}))  # batches of 1; of 2 and 1
    assert torch.isfinite(state.weights).all()
    assert math.isfinite(state.history[0]["train_loss"])


def test_a_single_image_is_predicted_and_so_is_one_more_than_a_full_part():
    model, clients = tiny_images_on_a_resnet()
    images = clients[0].tensors[0]
    assert torch.isfinite(probabilities(model, images[:1])).all()
    assert probabilities(model, images[:1]).shape == (1, 3)
    assert torch.isfinite(probabilities(model, images[:4], batch_size=3)).all()
