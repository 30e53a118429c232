"""The client's side: batches, optimisers, learning rates, and what is done to an update."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Broadcast, Client, Task, Training
from fedsyn.federated.exact import LIMIT
from fedsyn.federated.flat import flattened
from fedsyn.federated.local_training import (
    LocalTrainer,
    balanced_batches,
    batches,
    build_optimizer,
    clip,
    finite,
    local_batches,
    num_batches,
    num_drawn,
    proximal_weight,
    to_device,
)
from fedsyn.federated.training import learning_rate
from fedsyn.randomness import generator
from tests.federated.problems import HalfSquare, OneWeight, clients_with, settings

# --- batches ---


def drawn(num_samples: int, chosen: FederatedTraining, seed: int) -> list[np.ndarray]:
    count = num_batches(num_samples, chosen)
    return list(batches(num_samples, chosen.batch_size, count, np.random.default_rng(seed)))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 4), st.integers(0, 99))
def test_every_epoch_sees_every_sample_once(num_samples, batch_size, epochs, seed):
    rows = drawn(num_samples, FederatedTraining(batch_size=batch_size, local_epochs=epochs), seed)
    per_epoch = math.ceil(num_samples / batch_size)
    assert len(rows) == epochs * per_epoch
    assert max(len(batch) for batch in rows) <= batch_size
    for epoch in range(epochs):
        seen = np.concatenate(rows[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(seen) == list(range(num_samples))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 30), st.integers(0, 99))
def test_local_steps_are_exact_and_use_every_sample_before_one_comes_again(num_samples, batch_size, steps, seed):
    rows = drawn(num_samples, FederatedTraining(batch_size=batch_size, local_steps=steps, local_epochs=3), seed)
    assert len(rows) == steps
    counts = np.bincount(np.concatenate(rows), minlength=num_samples)
    assert counts.max() - counts.min() <= 1


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 40))
def test_the_samples_of_the_first_batches_are_counted_without_drawing_them(num_samples, batch_size, count):
    drawn = batches(num_samples, batch_size, count, np.random.default_rng(0))
    assert num_drawn(num_samples, count, batch_size) == sum(map(len, drawn))


def test_seven_samples_in_batches_of_three_are_three_three_and_one():
    assert [num_drawn(7, count, 3) for count in range(7)] == [0, 3, 6, 7, 10, 13, 14]


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_a_straggler_does_the_first_of_its_batches(num_samples, batch_size, count, fewer, seed):
    whole = list(batches(num_samples, batch_size, count, np.random.default_rng(seed)))
    part = list(batches(num_samples, batch_size, min(fewer, count), np.random.default_rng(seed)))
    assert len(whole) == count
    assert [rows.tolist() for rows in part] == [rows.tolist() for rows in whole[: len(part)]]


def test_each_epoch_is_shuffled_anew():
    first, second = drawn(100, FederatedTraining(batch_size=100, local_epochs=2), 0)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize(
    ("samples", "changes", "number"),
    [(10, {}, 3), (12, {}, 3), (13, {}, 4), (1, {}, 1), (10, {"local_epochs": 3}, 9), (10, {"local_steps": 7}, 7)],
)
def test_the_local_steps_of_a_client(samples, changes, number):
    assert num_batches(samples, FederatedTraining(batch_size=4, **changes)) == number


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 20), st.integers(0, 12), st.integers(0, 99))
def test_balanced_batches_are_as_large_as_plain_ones(labels, size, count, seed):
    plain = batches(len(labels), size, count, np.random.default_rng(seed))
    balanced = list(balanced_batches(np.array(labels), size, count, np.random.default_rng(seed)))
    assert [len(rows) for rows in balanced] == [len(rows) for rows in plain]
    assert all(((rows >= 0) & (rows < len(labels))).all() for rows in balanced)


def test_in_balanced_batches_every_class_of_the_client_is_equally_likely():
    """90 of class 5, 9 of class 2, one of class 7: each is a third of 3000 rows, within four standard deviations."""
    labels = np.array([5] * 90 + [2] * 9 + [7])
    rows = np.concatenate(list(balanced_batches(labels, 100, 30, np.random.default_rng(0))))
    for class_id in (2, 5, 7):
        assert (labels[rows] == class_id).mean() == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 3000))
    assert np.bincount(rows[labels[rows] == 5]).max() < 35  # and within it, every sample: 11 each


def test_a_clients_balanced_batches_follow_its_own_labels_and_are_named():
    labels = torch.tensor([0] * 19 + [1] + [2] * 5)
    client = Client(4, (torch.zeros(25), labels), torch.arange(20))  # which holds classes 0 and 1
    training = Training(HalfSquare(), settings(batch_size=20), 0, "classifier", class_balanced=True)
    task = Task(0, 0, 4, 20, 50, 1.0, 1.0)
    rows = [rows for rows, _ in local_batches(client, task, training, 3)]
    assert np.concatenate(rows).tolist().count(19) == pytest.approx(500, abs=70)
    rng = generator(0, "classifier", "batches", round_index=3, client_id=4)
    assert [found.tolist() for found in rows] == [
        found.tolist() for found in balanced_batches(labels[:20].numpy(), 20, 50, rng)
    ]


class Noisy(HalfSquare):
    """Asks for a number for each sample."""

    def draw(self, count, rng):
        return (rng.random(count),)


def test_batches_and_draws_have_names_of_their_own():
    """What a loss asks for does not move which samples come, and neither knows the other clients."""
    clients = clients_with([1.0] * 10, [2.0] * 10)
    tasks = [Task(k, k, k, 10, 3, 0.5, 0.5) for k in range(2)]

    def of(objective: HalfSquare, k: int, round_index: int) -> list[tuple[list[int], list[float]]]:
        training = Training(objective, settings(batch_size=4), 0, "classifier")
        found = local_batches(clients[k], tasks[k], training, round_index)
        return [(rows.tolist(), [number for array in draws for number in array]) for rows, draws in found]

    first = of(Noisy(), 0, 0)
    assert [(len(rows), len(numbers)) for rows, numbers in first] == [(4, 4), (4, 4), (2, 2)]
    named = {"round_index": 0, "client_id": 0}
    assert first[0][0] == generator(0, "classifier", "batches", **named).permutation(10)[:4].tolist()
    assert first[0][1] == generator(0, "classifier", "draws", **named).random(4).tolist()
    assert [rows for rows, _ in of(HalfSquare(), 0, 0)] == [rows for rows, _ in first]
    assert of(Noisy(), 0, 0) == first
    for other in (of(Noisy(), 1, 0), of(Noisy(), 0, 1)):
        assert [rows for rows, _ in other] != [rows for rows, _ in first]
        assert other[0][1] != first[0][1]


# --- learning rates and optimisers ---


def test_the_cosine_starts_at_the_learning_rate_and_ends_near_zero():
    chosen = FederatedTraining(rounds=4, learning_rate=0.2)
    rates = [learning_rate(chosen, round_index) for round_index in range(4)]
    assert rates == pytest.approx([0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5))])


def test_a_constant_rate_is_constant():
    chosen = FederatedTraining(rounds=4, learning_rate=0.2, learning_rate_schedule="constant")
    assert [learning_rate(chosen, round_index) for round_index in range(4)] == [0.2] * 4


def test_the_optimisers_are_those_of_the_settings():
    parameters = [nn.Parameter(torch.zeros(1))]
    chosen = FederatedTraining(momentum=0.7, weight_decay=0.01)
    sgd = build_optimizer(parameters, chosen, 0.3)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.3, 0.7, 0.01)
    adamw = build_optimizer(parameters, chosen.model_copy(update={"optimizer": "adamw"}), 0.3)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["betas"]) == (0.3, (0.7, 0.999))
    assert adamw.defaults["weight_decay"] == 0.01


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_steps_are_those_of_the_plain_implementation(name):
    chosen = FederatedTraining(optimizer=name, momentum=0.9, weight_decay=0.01)
    fused, plain = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    reference = {
        "sgd": lambda: torch.optim.SGD([plain], 0.1, 0.9, weight_decay=0.01, foreach=False),
        "adamw": lambda: torch.optim.AdamW([plain], 0.1, (0.9, 0.999), weight_decay=0.01, foreach=False),
    }[name]()
    optimizer = build_optimizer([fused], chosen, 0.1)
    for step in range(3):
        for parameter, each in ((fused, optimizer), (plain, reference)):
            parameter.grad = torch.tensor([0.5, 0.25]) * (step + 1)
            each.step()
    assert torch.allclose(fused, plain, rtol=1e-6)


def test_only_fedprox_has_a_proximal_weight():
    assert proximal_weight(settings(server={"algorithm": "fedprox", "proximal_weight": 0.3})) == 0.3
    assert proximal_weight(settings(server={"algorithm": "scaffold"})) == 0


# --- the update ---


def local_update(target: float, start: float = 1.0, **changes):
    """One client's update of one weight, from `start`."""
    with flattened(OneWeight()) as flat:
        trainer = LocalTrainer(flat, Training(HalfSquare(), settings(**changes), 0, "classifier"))
        broadcast = Broadcast(0, 0.1, torch.tensor([start]), torch.zeros(0))
        return trainer.train(clients_with([target])[0], Task(0, 0, 0, 1, 1, 1.0, 1.0), broadcast)


def test_an_update_is_the_change_with_its_mean_loss_and_its_size():
    update = local_update(3.0)
    # from 1 with gradient 1 - 3 = -2: a change of 0.2; the loss (1 - 3)^2 / 2
    assert update.weights.item() == pytest.approx(0.2)
    assert update.report.tolist() == pytest.approx([2.0, 0.2])
    assert update.statistics.shape == (0,)


@pytest.mark.parametrize("target", [math.nan, math.inf, 1e30])
def test_an_update_that_does_not_count_is_zero_and_its_report_says_why(target):
    update = local_update(target)
    assert update.weights.tolist() == [0]
    assert not finite(*update.report)


def test_an_update_is_clipped_only_with_privacy():
    clipped = local_update(3.0, privacy={"clip_norm": 0.05, "noise_multiplier": 1.0})
    assert clipped.weights.item() == pytest.approx(0.05)
    assert clipped.report.tolist() == pytest.approx([2.0, 0.2])  # the report is of the update as it was


def test_clipping_by_hand():
    # norms 5 and 0.5: the first is scaled by 1 / 5
    updates = torch.tensor([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])
    assert clip(updates, 1.0).flatten().tolist() == pytest.approx([0.6, -0.8, 0.3, 0.4, 0, 0])
    assert updates[0].tolist() == pytest.approx([0.6, -0.8])  # in place


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_a_clipped_update_is_never_longer_and_keeps_its_direction(values, clip_norm):
    update = torch.tensor(values)
    clipped = clip(update.clone(), clip_norm)
    norm = torch.linalg.vector_norm(update.double()).item()
    assert torch.linalg.vector_norm(clipped.double()).item() <= clip_norm * (1 + 1e-5)
    scale = 1.0 if norm <= clip_norm else clip_norm / norm
    assert clipped.tolist() == pytest.approx((update.double() * scale).tolist(), rel=1e-4, abs=1e-30)


@pytest.mark.parametrize(
    ("loss", "size", "counts"),
    [
        (0.5, 0.1, True),
        (0.0, 0.0, True),
        (1e30, 0.1, True),  # a large loss is still a number
        (math.nan, 0.1, False),
        (math.inf, 0.1, False),
        (0.5, math.nan, False),
        (0.5, math.inf, False),
        (0.5, LIMIT, False),
        (0.5, LIMIT - 1, True),
    ],
)
def test_an_update_counts_where_its_loss_is_a_number_and_no_weight_moved_too_far(loss, size, counts):
    assert finite(torch.tensor(loss), torch.tensor(size)).item() is counts


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_an_array_is_a_tensor_of_its_type_and_on_a_cpu_no_copy(dtype):
    array = np.ones((2, 3), dtype)
    tensor = to_device(array, torch.device("cpu"))
    assert (tensor.numpy() == array).all()
    assert tensor.numpy().dtype == dtype
    assert np.shares_memory(tensor.numpy(), array)
