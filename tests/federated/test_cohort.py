"""Who takes part: shares that sum to 1, frequencies as asked, and draws that know nothing of the other clients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Client, Task, Training
from fedsyn.federated.cohort import draw_cohort, sample_clients
from tests.federated.problems import HalfSquare, clients_with, settings

SIZES = [1, 2, 3, 4]
ROUNDS = 2000


def of_sizes(*sizes: int) -> list[Client]:
    return clients_with(*[[1.0] * size for size in sizes])


def cohort(clients: list[Client], chosen: FederatedTraining, round_index: int = 0, seed: int = 0) -> list[Task]:
    training = Training(HalfSquare(), chosen, seed, "classifier")
    return [task for _, task in draw_cohort(clients, training, round_index, lambda task: task.share)]


def frequencies(sizes: list[int], chosen: FederatedTraining) -> np.ndarray:
    """How often each client is drawn in a round, on average (K,)."""
    rng = np.random.default_rng(0)
    return np.mean([sample_clients(sizes, chosen, rng) for _ in range(ROUNDS)], axis=0)


# --- sampling ---


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
@pytest.mark.parametrize("sampling", ["uniform", "by_size"])
def test_as_many_are_drawn_as_the_share_of_the_clients_rounded_up(num_clients, fraction, drawn, sampling):
    chosen = settings(client_fraction=fraction, client_sampling=sampling)
    times = sample_clients([3] * num_clients, chosen, np.random.default_rng(0))
    assert times.shape == (num_clients,)
    assert times.sum() == drawn
    assert sampling == "by_size" or times.max() == 1


def test_uniform_draws_every_client_as_often_whatever_its_size():
    chosen = settings(client_fraction=0.5)
    assert frequencies(SIZES, chosen) == pytest.approx([0.5] * 4, abs=0.04)


def test_by_size_draws_in_proportion_to_the_samples():
    chosen = settings(client_fraction=0.5, client_sampling="by_size")  # two draws a round
    assert frequencies(SIZES, chosen) == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.05)


def test_poisson_draws_every_client_by_itself():
    chosen, rng = settings(client_fraction=0.3, client_sampling="poisson"), np.random.default_rng(0)
    times = np.array([sample_clients(SIZES, chosen, rng) for _ in range(ROUNDS)])
    assert times.mean(0) == pytest.approx([0.3] * 4, abs=0.04)
    assert np.bincount(times.sum(1)) / ROUNDS == pytest.approx([0.2401, 0.4116, 0.2646, 0.0756, 0.0081], abs=0.04)
    assert np.corrcoef(times.T)[~np.eye(4, dtype=bool)] == pytest.approx([0] * 12, abs=0.1)


# --- shares and weights ---


def test_shares_are_samples_over_the_samples_of_the_cohort():
    tasks = cohort(of_sizes(1, 3, 4), settings())
    assert [task.share for task in tasks] == [1 / 8, 3 / 8, 4 / 8]
    assert [(task.row, task.place, task.client_id, task.num_samples) for task in tasks] == [
        (0, 0, 0, 1),
        (1, 1, 1, 3),
        (2, 2, 2, 4),
    ]


def test_a_client_drawn_twice_by_size_counts_twice():
    clients, chosen = of_sizes(1, 9), settings(client_sampling="by_size")  # two draws
    drawn = [{task.client_id: task.share for task in cohort(clients, chosen, r)} for r in range(100)]
    assert all(shares in ({0: 0.5, 1: 0.5}, {1: 1.0}, {0: 1.0}) for shares in drawn)
    assert drawn.count({1: 1.0}) == pytest.approx(81, abs=12)


def test_a_share_by_size_is_how_often_a_client_was_drawn_over_the_draws():
    chosen = settings(client_sampling="by_size")
    shares = [task.share * 4 for r in range(50) for task in cohort(of_sizes(*SIZES), chosen, r)]
    assert {int(times) for times in shares} >= {1, 2, 3}
    assert all(times == int(times) for times in shares)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=12),
    st.sampled_from(["uniform", "by_size", "poisson"]),
    st.floats(0.01, 1),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 99),
)
def test_shares_sum_to_1_over_those_who_answer_and_rows_and_places_fit(sizes, sampling, fraction, rate, round_index):
    chosen = settings(client_sampling=sampling, client_fraction=fraction, dropout_rate=rate, straggler_rate=rate)
    clients = of_sizes(*sizes)
    tasks = cohort(clients, chosen, round_index)
    assert not tasks or sum(task.share for task in tasks) == pytest.approx(1)
    assert [task.row for task in tasks] == list(range(len(tasks)))
    assert [task.place for task in tasks] == sorted({task.place for task in tasks})
    assert all(clients[task.place].client_id == task.client_id for task in tasks)
    assert all(sizes[task.place] == task.num_samples for task in tasks)


def test_the_weight_is_what_the_algorithm_makes_of_the_task():
    training = Training(HalfSquare(), settings(), 0, "classifier")
    drawn = draw_cohort(of_sizes(1, 3), training, 0, lambda task: task.share / task.num_samples)
    assert [(task.share, task.weight) for _, task in drawn] == [(1 / 4, 1 / 4), (3 / 4, 1 / 4)]


# --- dropping out and straggling ---


def test_clients_drop_out_as_often_as_asked_and_the_others_share_the_weight():
    answered = [cohort(of_sizes(*SIZES), settings(dropout_rate=0.3), r) for r in range(500)]
    counts = np.bincount([task.client_id for tasks in answered for task in tasks])
    assert counts / 500 == pytest.approx([0.7] * 4, abs=0.07)
    assert all(sum(task.share for task in tasks) == pytest.approx(1) for tasks in answered if tasks)


def test_where_all_drop_out_or_nobody_was_drawn_the_cohort_is_empty():
    for rare in ({"dropout_rate": 0.99}, {"client_sampling": "poisson", "client_fraction": 0.01}):
        assert [cohort(of_sizes(1, 1), settings(**rare), r) for r in range(5)] == [[]] * 5


def test_nobody_drops_out_or_straggles_unless_asked():
    for r in range(50):
        assert [task.num_batches for task in cohort(of_sizes(1, 25), settings(batch_size=5), r)] == [1, 5]


def test_stragglers_do_at_least_one_batch_and_less_than_the_others():
    chosen = settings(batch_size=1, straggler_rate=0.5)
    done = np.array([[task.num_batches for task in cohort(of_sizes(10, 1), chosen, r)] for r in range(ROUNDS)])
    assert set(done[:, 0]) == set(range(1, 11))
    assert (done[:, 0] < 10).mean() == pytest.approx(0.5, abs=0.04)
    assert set(done[:, 1]) == {1}
    # floor(10 u), but at least 1: 1 in two tenths of the cases, 2 to 9 in one each
    slow = done[done[:, 0] < 10, 0]
    assert np.bincount(slow)[1:] / len(slow) == pytest.approx([0.2] + [0.1] * 8, abs=0.04)


# --- named draws ---


@given(st.integers(0, 50), st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_a_client_does_depends_on_no_other_client(round_index, present):
    chosen = settings(batch_size=1, dropout_rate=0.3, straggler_rate=0.5)
    clients = of_sizes(*range(3, 11))
    some = [client for client, there in zip(clients, present, strict=True) if there]
    everybody = {task.client_id: task.num_batches for task in cohort(clients, chosen, round_index)}
    alone = {task.client_id: task.num_batches for task in cohort(some, chosen, round_index)}
    here = {client.client_id for client in some}
    assert alone == {client_id: steps for client_id, steps in everybody.items() if client_id in here}


def test_a_client_that_drops_out_does_not_change_who_else_was_drawn():
    clients = of_sizes(*[1] * 20)
    for r in range(20):
        drawn, answered = (
            {task.client_id for task in cohort(clients, settings(client_fraction=0.5, dropout_rate=rate), r)}
            for rate in (0.0, 0.4)
        )
        assert len(drawn) == 10
        assert answered <= drawn


def test_the_same_names_give_the_same_cohort_and_others_another_one():
    chosen = settings(batch_size=1, client_fraction=0.5, dropout_rate=0.2, straggler_rate=0.5)
    clients = of_sizes(*[10] * 20)
    assert cohort(clients, chosen, 3) == cohort(clients, chosen, 3)
    assert cohort(clients, chosen, 3) != cohort(clients, chosen, 4)
    assert cohort(clients, chosen, 3, seed=0) != cohort(clients, chosen, 3, seed=1)
