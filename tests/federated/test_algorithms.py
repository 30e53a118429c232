"""Server algorithms on one weight: every number here can be had with a pencil.

Clients of one sample y take one step of 0.1 from w: Delta = -0.1 (w - y).
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.federated.algorithms import trimmed_mean
from tests.federated.problems import OneWeight, settings, train


def run(algorithm: str, *targets: list[float], start: float = 0.0, options: dict | None = None, **changes) -> list:
    """The weight after each round."""
    seen = []
    chosen = settings(server={"algorithm": algorithm} | (options or {}), **changes)
    train(chosen, *targets, model=OneWeight(start), after_round=lambda state: seen.append(state.weights.item()))
    return seen


def test_fedavg_with_a_server_rate_goes_that_part_of_the_way():
    assert run("fedavg", [1.0], [5.0] * 3, options={"learning_rate": 0.5}) == pytest.approx([0.2])


def test_fedavgm():
    # Delta = 0.1; m = 0.1, w = 0.1; Delta = 0.1 (1 - 0.1) = 0.09; m = 0.5 * 0.1 + 0.09 = 0.14, w = 0.24
    assert run("fedavgm", [1.0], rounds=2, options={"momentum": 0.5}) == pytest.approx([0.1, 0.24])


def test_fedadam():
    # m = 0.1 * 0.1 = 0.01; v = 0.99 * 0.01^2 + 0.01 * 0.1^2 = 1.99e-4; w = 0.1 * 0.01 / (sqrt(1.99e-4) + 0.01)
    options = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.99, "adaptivity": 0.01}
    first = 0.1 * 0.01 / (1.99e-4**0.5 + 0.01)
    # Delta = 0.1 (1 - w)
    delta = 0.1 * (1 - first)
    m, v = 0.9 * 0.01 + 0.1 * delta, 0.99 * 1.99e-4 + 0.01 * delta**2
    second = first + 0.1 * m / (v**0.5 + 0.01)
    assert run("fedadam", [1.0], rounds=2, options=options) == pytest.approx([first, second], rel=1e-6)


def test_fedyogi_moves_its_second_moment_by_a_sign():
    # v = 1e-4 < Delta^2 = 0.01: v = 1e-4 + 0.01 * 0.01 = 2e-4; w = 0.1 * 0.01 / (sqrt(2e-4) + 0.01)
    options = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.99, "adaptivity": 0.01}
    assert run("fedyogi", [1.0], options=options) == pytest.approx([0.1 * 0.01 / (2e-4**0.5 + 0.01)], rel=1e-6)


def test_fedyogi_shrinks_its_second_moment_where_updates_are_small():
    # v = 1 > Delta^2 = 0.01: v = 1 - 0.5 * 0.01 = 0.995
    options = {"learning_rate": 1.0, "momentum": 0.0, "second_moment_decay": 0.5, "adaptivity": 1.0}
    assert run("fedyogi", [1.0], options=options) == pytest.approx([0.1 / (0.995**0.5 + 1)], rel=1e-6)


def test_fedprox_pulls_back_to_the_global_weight():
    # step 1: w = 0.1 as ever; step 2: gradient (0.1 - 1) + 2 (0.1 - 0) = -0.7, w = 0.17 instead of 0.19
    options = {"proximal_weight": 2.0}
    assert run("fedprox", [1.0], local_epochs=2, options=options) == pytest.approx([0.17])
    # the next round is pulled to 0.17, not to 0: 0.17 + 0.083 = 0.253; - 0.1 ((0.253 - 1) + 2 (0.083)) = 0.3111
    assert run("fedprox", [1.0], local_epochs=2, rounds=2, options=options)[1] == pytest.approx(0.3111)


def test_fedprox_without_its_weight_is_fedavg():
    assert run("fedprox", [1.0], [4.0], local_epochs=3, options={"proximal_weight": 0.0}) == run(
        "fedavg", [1.0], [4.0], local_epochs=3
    )


def test_scaffold():
    # round 1: c = c_k = 0, as FedAvg: Delta = 0.1 and 0.5, w = (0.1 + 0.5) / 2 = 0.3
    # c_1 = -Delta_1 / (1 * 0.1) = -1, c_2 = -5 (their gradients at 0), c = -3
    # round 2: client 1: gradient 0.3 - 1 = -0.7, + c - c_1 = -0.7 - 2 = -2.7, Delta = 0.27
    #          client 2: gradient 0.3 - 5 = -4.7, + c - c_2 = -4.7 + 2 = -2.7, Delta = 0.27: both now go the same way
    # w = 0.57; c_1 = -1 + 3 - 2.7 = -0.7, c_2 = -5 + 3 - 2.7 = -4.7, c = -2.7
    # round 3: -0.43 - 2 = -2.43 and -4.43 + 2 = -2.43; w = 0.57 + 0.243
    assert run("scaffold", [1.0], [5.0], rounds=3) == pytest.approx([0.3, 0.57, 0.813])


def test_scaffold_weighs_by_samples():
    # w = (1 * 0.1 + 3 * 0.5) / 4 = 0.4; c = (1 * -1 + 3 * -5) / 4 = -4
    # client 1: -0.6 - 4 + 1 = -3.6; client 2: -4.6 - 4 + 5 = -3.6; w = 0.76
    assert run("scaffold", [1.0], [5.0] * 3, rounds=2) == pytest.approx([0.4, 0.76])


def test_scaffold_learns_of_a_client_only_when_it_is_drawn():
    state = train(settings(server={"algorithm": "scaffold"}, client_fraction=0.5), [1.0], [5.0])
    control, controls = state.memory["control"], state.memory["controls"]
    drawn = int(controls[1].item() != 0)
    assert controls[1 - drawn].item() == 0
    assert controls[drawn].item() == pytest.approx([-1.0, -5.0][drawn])
    assert control.item() == pytest.approx(controls[drawn].item() / 2)  # its half of all samples


def test_fednova_weighs_paths_not_their_lengths():
    # client 1: one step, Delta = 0.1; client 2: batches of 1, three steps towards 5: 5 (1 - 0.9^3) = 1.355
    # shares 1/4 and 3/4, a = 1 and 3: tau_eff = 1/4 + 9/4 = 2.5; 2.5 (0.25 * 0.1 + 0.75 * 1.355 / 3)
    changes = {"batch_size": 1}
    assert run("fednova", [1.0], [5.0] * 3, **changes) == pytest.approx([2.5 * (0.025 + 0.25 * 1.355)])
    assert run("fedavg", [1.0], [5.0] * 3, **changes) == pytest.approx([0.025 + 0.75 * 1.355])


def test_fednova_counts_the_path_of_momentum():
    # rho = 0.5, two steps: a = (1 - 0.5) / 0.5 + (1 - 0.25) / 0.5 = 1 + 1.5 = 2.5
    # client 1, one step: Delta = 0.1; client 2: v = -5, w = 0.5; v = -2.5 - 4.5 = -7, w = 1.2
    # shares 1/3 and 2/3: tau_eff = 1/3 + 5/3 = 2; 2 (0.1 / 3 + 2/3 * 1.2 / 2.5)
    expected = 2 * (0.1 / 3 + 2 / 3 * 1.2 / 2.5)
    assert run("fednova", [1.0], [5.0] * 2, batch_size=1, momentum=0.5) == pytest.approx([expected])


def test_fednova_is_fedavg_where_all_take_as_many_steps():
    changes = {"local_epochs": 3, "momentum": 0.5}
    assert run("fednova", [1.0], [5.0], **changes) == pytest.approx(run("fedavg", [1.0], [5.0], **changes))


def test_the_median_does_not_follow_one_liar():
    # Delta: 0.1, 0.2, 100
    assert run("median", [1.0], [2.0], [1000.0]) == pytest.approx([0.2])
    # of an even number: the mean of the middle two, however many samples they have
    assert run("median", [1.0], [2.0] * 7, [4.0], [1000.0]) == pytest.approx([0.3])


def test_the_trimmed_mean_cuts_at_both_ends():
    options = {"trimmed_share": 0.25}
    assert run("trimmed_mean", [-500.0], [2.0], [4.0] * 9, [1000.0], options=options) == pytest.approx([0.3])


def test_the_trimmed_mean_of_too_few_to_cut_is_the_unweighted_mean():
    assert run("trimmed_mean", [1.0], [5.0] * 9, options={"trimmed_share": 0.1}) == pytest.approx([0.3])


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 99), st.integers(1, 7))
def test_the_trimmed_mean_agrees_with_scipy(rows, width, seed, columns):
    from scipy.stats import trim_mean

    updates = np.random.default_rng(seed).standard_normal((rows, width), np.float32)
    cut = (rows - 1) // 3
    fast = trimmed_mean(torch.from_numpy(updates), cut, columns)
    assert fast.numpy() == pytest.approx(trim_mean(updates.astype(np.float64), cut / rows + 1e-9, axis=0), abs=1e-12)


@given(st.integers(1, 9), st.integers(0, 99))
def test_the_median_agrees_with_numpy(rows, seed):
    updates = np.random.default_rng(seed).standard_normal((rows, 5), np.float32)
    median = trimmed_mean(torch.from_numpy(updates), (rows - 1) // 2)
    assert median.numpy() == pytest.approx(np.median(updates.astype(np.float64), axis=0))


@pytest.mark.parametrize("algorithm", ["fedavg", "fedavgm", "fedprox", "fednova", "median", "trimmed_mean", "scaffold"])
def test_all_go_to_the_minimum_that_clients_agree_on(algorithm):
    changes = {"rounds": 150, "client_fraction": 0.5}
    assert run(algorithm, [3.0], [3.0] * 2, [3.0], [3.0] * 4, **changes)[-1] == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("algorithm", ["fedadam", "fedyogi"])
def test_the_adaptive_ones_go_there_with_their_defaults(algorithm):
    options = {"learning_rate": 0.1}
    assert run(algorithm, [3.0], [3.0] * 2, rounds=300, options=options)[-1] == pytest.approx(3.0, abs=0.1)
