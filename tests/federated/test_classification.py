"""Cross-entropy with augmentation, and measuring."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedsyn.artifacts import Checkpoints
from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.data.images import to_input
from fedsyn.federated.classification import CrossEntropy, probabilities, train_classifier
from tests.federated.problems import small_problem


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
