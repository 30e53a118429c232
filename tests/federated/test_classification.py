"""Cross-entropy with augmentation and with logit adjustment, measuring, and stages of several trainings."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.config import Classifier, FederatedTraining
from fedsyn.context import Context
from fedsyn.data.images import to_input
from fedsyn.federated.classification import (
    CrossEntropy,
    log_priors,
    logits,
    logits_by_client,
    probabilities,
    train_classifier,
    with_log_prior,
)
from fedsyn.federated.client import Client, group_by_client
from tests.federated.problems import small_problem, weights_after


class ByBrightness(nn.Module):
    """Logits that are the pixels of the upper left corner."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, 0, :3]


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, 8, 8, 1), np.uint8)), torch.arange(count) % 3


# --- the loss ---


def test_each_image_has_the_loss_of_torch():
    model, _ = small_problem()
    images, labels = batch()
    losses = CrossEntropy("none", 8).losses(model, (images, labels), ())
    assert losses.shape == (6,)
    assert torch.equal(losses, F.cross_entropy(model(to_input(images)), labels, reduction="none"))
    assert losses.mean().item() == pytest.approx(F.cross_entropy(model(to_input(images)), labels).item())


def test_a_loss_by_hand():
    images = torch.full((1, 8, 8, 1), 255, dtype=torch.uint8)
    images[0, 0, :2] = 0  # logits -1, -1, 1
    losses = [CrossEntropy("none", 8).losses(ByBrightness(), (images, torch.tensor([c])), ()).item() for c in (0, 2)]
    normalizer = np.log(2 * np.exp(-1) + np.exp(1))
    assert losses == pytest.approx([normalizer + 1, normalizer - 1])


def test_the_loss_sees_the_image_as_its_draws_move_it():
    images = torch.zeros(2, 8, 8, 1, dtype=torch.uint8)
    images[:, 0, 7] = 255
    draws = torch.tensor([[1, 1], [1, 1]]), torch.tensor([False, True])  # no shift; the second is flipped
    plain, flipped = CrossEntropy("shift-flip", 8).losses(ByBrightness(), (images, torch.tensor([0, 0])), draws)
    assert plain.item() == pytest.approx(np.log(3), rel=1e-6)  # three black pixels
    assert flipped.item() == pytest.approx(np.log(1 + 2 * np.exp(-2)), rel=1e-5)  # logits 1, -1, -1


# one step to the left takes the first pixel of a row for black
LEFT = torch.tensor([[1, 0]])


def test_a_loss_with_consistency_by_hand():
    white = torch.full((1, 8, 8, 1), 255, dtype=torch.uint8)
    loss = CrossEntropy("none", 8, consistency_weight=2.0).losses(ByBrightness(), (white, torch.tensor([0])), (LEFT,))
    # p is uniform, the other view's logits are -1, 1, 1: KL = -log 3 - mean log q
    kl = -np.log(3) - (1 / 3 - np.log(np.exp(-1) + 2 * np.e))
    assert loss.item() == pytest.approx(np.log(3) + 2 * kl)


def test_the_view_that_teaches_learns_nothing_from_the_other_one():
    white, label = torch.full((1, 8, 8, 1), 255, dtype=torch.uint8), torch.tensor([0])
    scale = torch.ones((), requires_grad=True)

    def model(x: torch.Tensor) -> torch.Tensor:
        return scale * x[:, 0, 0, :3]

    CrossEntropy("none", 8, consistency_weight=1.0).losses(model, (white, label), (LEFT,)).sum().backward()
    # of the logits s (1, 1, 1) nothing moves; of s (-1, 1, 1) as the student: -d mean log q / ds = sum q z - 1/3
    q = np.exp([-1, 1, 1]) / np.exp([-1, 1, 1]).sum()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(q @ [-1, 1, 1] - 1 / 3)


@pytest.mark.parametrize(("augmentation", "numbers"), [("none", 1), ("shift", 2), ("shift-flip", 4)])
def test_consistency_draws_a_second_view(augmentation, numbers):
    rng = np.random.default_rng(0)
    assert len(CrossEntropy(augmentation, 16, consistency_weight=1.0).draw(4, rng)) == numbers


@pytest.mark.parametrize(("augmentation", "number"), [("none", 0), ("shift", 1), ("shift-flip", 2)])
def test_the_draws_are_those_of_the_augmentation(augmentation, number):
    draws = CrossEntropy(augmentation, 32).draw(1000, np.random.default_rng(0))
    assert len(draws) == number
    assert [len(array) for array in draws] == [1000] * number
    if number > 0:
        assert set(draws[0].flatten()) == set(range(9))  # up to 32 / 8 pixels to either side
    if number > 1:
        assert draws[1].mean() == pytest.approx(0.5, abs=0.05)


# --- measuring ---


def test_probabilities_do_not_depend_on_the_batch_and_leave_the_model_in_training_mode():
    model, clients = small_problem()
    images = clients[0].tensors[0]
    whole, parts = probabilities(model, images), probabilities(model, images, batch_size=7)
    assert model.training
    assert whole.shape == (60, 3)
    assert whole.sum(1) == pytest.approx(torch.ones(60))
    assert torch.allclose(whole, parts, atol=1e-6)


def test_measuring_does_not_move_the_statistics_of_batch_normalisation():
    model, clients = small_problem(normalization="batch")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probabilities(model, clients[0].tensors[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_test_set_is_measured_every_so_many_rounds_and_after_the_last(tmp_path):
    chosen = Classifier(width=8, rounds=5, batch_size=8, evaluate_every=2)
    model, clients = small_problem()
    images, labels = clients[0].tensors
    context = Context("classifier", torch.device("cpu"), Checkpoints(tmp_path))
    state = train_classifier(model, clients, images, labels, chosen, context, seed=0)
    assert [entry["round"] for entry in state.history if "test_accuracy" in entry] == [2, 4, 5]
    correct = probabilities(model, images).argmax(1) == labels
    assert state.history[-1]["test_accuracy"] == pytest.approx(correct.float().mean().item())


def test_measuring_changes_nothing_of_the_training(tmp_path):
    trained = []
    for every in (1, 100):
        chosen = Classifier(width=8, rounds=3, batch_size=8, evaluate_every=every, normalization="batch")
        model, clients = small_problem(normalization="batch")
        images, labels = clients[0].tensors
        context = Context("classifier", torch.device("cpu"), Checkpoints(tmp_path / str(every)))
        trained.append(train_classifier(model, clients, images, labels, chosen, context, seed=0))
    assert torch.equal(trained[0].weights, trained[1].weights)
    assert torch.equal(trained[0].statistics, trained[1].statistics)


# --- logit adjustment ---


COUNTS = torch.tensor([[3, 1, 0, 0], [0, 1, 3, 0]])  # two clients, four classes, the last of which nobody has


def test_the_global_prior_is_that_of_all_labels_and_one_more_of_each_class():
    priors = log_priors(COUNTS, "global").exp()
    assert torch.equal(priors[0], priors[1])
    assert priors[0].tolist() == pytest.approx([4 / 12, 3 / 12, 4 / 12, 1 / 12])


def test_a_clients_prior_is_that_of_its_own_labels_and_one_more_of_each_class():
    priors = log_priors(COUNTS, "client").exp()
    assert priors[0].tolist() == pytest.approx([4 / 8, 2 / 8, 1 / 8, 1 / 8])
    assert priors[1].tolist() == pytest.approx([1 / 8, 2 / 8, 4 / 8, 1 / 8])


def test_an_adjusted_loss_by_hand():
    """Balanced softmax: -log(n_y e^{f_y} / sum_c n_c e^{f_c}); logits -1, -1, 1, of which the last is masked."""
    images = torch.full((1, 8, 8, 1), 255, dtype=torch.uint8)
    images[0, 0, :2] = 0
    log_prior = torch.tensor([[0.75, 0.25, 0.0]]).log()
    loss = CrossEntropy("none", 8).losses(ByBrightness(), (images, torch.tensor([1]), log_prior), ())
    assert loss.item() == pytest.approx(math.log(4))


def test_the_rarer_a_class_is_the_less_its_logit_is_pushed_down():
    logits = torch.zeros(1, 3, requires_grad=True)
    prior = torch.tensor([[0.5, 0.4, 0.1]]).log()
    F.cross_entropy(logits + prior, torch.tensor([0])).backward()
    assert logits.grad.tolist() == [pytest.approx([-0.5, 0.4, 0.1])]


def test_every_sample_carries_the_prior_of_its_owner():
    labels = torch.tensor([0, 1, 0, 2, 2])
    clients = group_by_client(np.array([0, 0, 1, 1, 1]), np.arange(5), (torch.zeros(5, 8, 8, 1), labels))
    first, second = with_log_prior(clients, 3, "client")
    assert first.tensors[2] is second.tensors[2]
    rows = first.tensors[2].exp()
    assert rows[1].tolist() == pytest.approx([2 / 5, 2 / 5, 1 / 5])
    assert rows[2].tolist() == pytest.approx([2 / 6, 1 / 6, 3 / 6])


@pytest.mark.parametrize("adjustment", ["client", "global"])
def test_adjusted_training_is_the_same_on_every_engine(adjustment):
    chosen = FederatedTraining(rounds=2, batch_size=8)
    results = {}
    for engine in ("sequential", "processes", "vectorized"):
        model, clients = small_problem()
        clients = with_log_prior(clients, 3, adjustment)
        results[engine] = weights_after(model, clients, CrossEntropy("shift", 8), chosen, engine, workers=2)
    assert torch.equal(results["sequential"], results["processes"])
    assert (results["sequential"] - results["vectorized"]).abs().max() < 1e-5
    plain, clients = small_problem()
    assert not torch.equal(
        results["sequential"], weights_after(plain, clients, CrossEntropy("shift", 8), chosen, "sequential")
    )


def two_strangers() -> tuple[nn.Module, list[Client]]:
    """Two clients, one with black images of class 0, one with white ones of class 1; a third class has no label."""
    images = torch.zeros(40, 8, 8, 1, dtype=torch.uint8)
    images[20:] = 255
    labels = torch.arange(40) // 20
    model, _ = small_problem()
    return model, group_by_client(labels.numpy(), np.arange(40), (images, labels))


def test_a_class_that_no_client_has_labelled_is_not_predicted(tmp_path):
    for adjustment in ("none", "global", "client"):
        model, clients = two_strangers()
        images, labels = clients[0].tensors
        chosen = Classifier(width=8, rounds=10, batch_size=8, logit_adjustment=adjustment)
        context = Context("classifier", torch.device("cpu"), Checkpoints(tmp_path / adjustment))
        state = train_classifier(model, clients, images, labels, chosen, context, seed=0)
        assert np.isfinite(state.history[-1]["train_loss"])
        assert (probabilities(model, images).argmax(1) == labels).all()


# --- logits of many clients ---


def test_logits_by_client_are_those_of_each_client_alone():
    model, clients = small_problem(normalization="batch", batch_statistics="local")
    images = clients[0].tensors[0]
    rows, owner = np.array([5, 3, 9, 4, 1]), np.array([1, 0, 1, 0, 7])
    found = logits_by_client(model, images, rows, owner, 3)
    for client_id in (0, 1, 7):
        own = np.flatnonzero(owner == client_id)
        assert np.array_equal(found[own], logits(model, images[torch.from_numpy(rows[own])]).numpy())
    assert logits_by_client(model, images, rows[:0], owner[:0], 3).shape == (0, 3)


# --- several trainings in one stage ---


def test_a_stage_of_several_trainings_goes_on_in_the_one_that_was_killed(tmp_path):
    """Killed in the second, with the first kept: neither takes the other's checkpoint for its own."""

    def train(folder: Path, killed: bool = False) -> list[torch.Tensor]:
        trained = []
        for part in range(2):
            model, clients = small_problem()
            images, labels = clients[0].tensors
            own = Classifier(width=8, rounds=3, batch_size=8, learning_rate=0.01 * (part + 1))
            whole = Context("bounds", torch.device("cpu"), Checkpoints(folder, Pace(1, None)))
            context = whole.part(3 * part, total=6)
            if killed and part == 1:
                context = replace(context, checkpoints=Dying(folder, Pace(1, None)).part(3))
            trained.append(train_classifier(model, clients, images, labels, own, context, seed=0).weights)
        return trained

    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", killed=True)
    assert Checkpoints(tmp_path / "killed").units() == 4
    for one, other in zip(train(tmp_path / "killed"), whole, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(train(tmp_path / "killed"), whole, strict=True):  # all of it is kept
        assert torch.equal(one, other)


class Killed(BaseException):
    """Nobody is asked."""


class Dying(Checkpoints):
    """Dies after having kept one round."""

    def save(self, *args) -> None:
        super().save(*args)
        raise Killed
