"""Differential privacy: clipping, noise, equal weights, and a budget that agrees with Opacus."""

import math
import warnings

import pytest
import torch
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

from fedsyn.config import FederatedTraining
from fedsyn.federated.algorithms import Collected, build_algorithm
from fedsyn.federated.client import Task
from fedsyn.federated.privacy import PrivateMean, epsilon, spent
from tests.federated.problems import OneWeight, settings, train

NO_NOISE = {"clip_norm": 1e3, "noise_multiplier": 0.0}


def private(noise: float = 1.0, clip_norm: float = 1.0, delta: float = 1e-5, **changes: object) -> FederatedTraining:
    """Settings with privacy; a fraction below 1 is sampled by Poisson."""
    sampling = {"client_sampling": "poisson"} if "client_fraction" in changes else {}
    privacy = {"clip_norm": clip_norm, "noise_multiplier": noise, "delta": delta}
    return settings(privacy=privacy, **(sampling | changes))


def private_mean(chosen: FederatedTraining, num_clients: int = 10, seed: int = 0) -> PrivateMean:
    return PrivateMean(build_algorithm(chosen), seed, "classifier", num_clients)


def noise_of(algorithm: PrivateMean, size: int = 100_000, round_index: int = 0) -> torch.Tensor:
    """The mean of a round in which nothing came up."""
    return algorithm.mean(Collected([], torch.zeros(size, dtype=torch.float64), None, round_index, 0.1, 0))


# --- what the server adds up ---


def test_without_noise_and_clipping_it_is_the_unweighted_mean_by_hand():
    chosen = settings(privacy=NO_NOISE)
    state = train(chosen, [1.0], [5.0, 5.0, 5.0])
    # updates 0.1 and 0.5: by samples 0.4, equally 0.3
    assert state.weights.item() == pytest.approx(0.3)
    assert train(settings(), [1.0], [5.0, 5.0, 5.0]).weights.item() == pytest.approx(0.4)


def test_each_update_is_clipped_before_the_mean_by_hand():
    state = train(settings(privacy={"clip_norm": 0.2, "noise_multiplier": 0.0}), [1.0], [5.0], [-9.0])
    # updates 0.1, 0.5 -> 0.2 and -0.9 -> -0.2
    assert state.weights.item() == pytest.approx((0.1 + 0.2 - 0.2) / 3)


def test_the_clip_holds_for_the_whole_update_of_all_local_steps():
    chosen = settings(local_steps=50, privacy={"clip_norm": 0.2, "noise_multiplier": 0.0})
    assert train(chosen, [100.0]).weights.item() == pytest.approx(0.2)


def test_an_update_counts_one_over_the_clients_expected_in_a_round_whoever_answers():
    algorithm = private_mean(private(client_fraction=0.25), num_clients=8)
    tasks = [Task(0, 0, 0, samples, 3, share, 0.0) for samples, share in ((1, 0.01), (1000, 0.99))]
    assert [algorithm.weight(task) for task in tasks] == [1 / 2, 1 / 2]


def test_a_client_that_drops_out_does_not_make_the_others_count_more():
    chosen = settings(rounds=60, dropout_rate=0.5, learning_rate=1e-6, privacy=NO_NOISE)
    seen = []
    train(chosen, [1e4], [1e4], after_round=lambda state: seen.append(state.weights.item()))
    steps = torch.tensor([0.0, *seen]).diff()
    # each update is about 0.01; a round moves by half of it for each of the two that answer
    assert {round(step * 200) for step in steps.tolist()} == {0, 1, 2}


def test_the_steps_of_another_algorithm_are_kept():
    momentum = {"algorithm": "fedavgm", "momentum": 0.5}
    state = train(settings(rounds=2, server=momentum, privacy=NO_NOISE), [1.0], [5.0, 5.0, 5.0])
    # round 1: 0.3, momentum 0.3; round 2: updates 0.07 and 0.47, mean 0.27, momentum 0.15 + 0.27
    assert state.weights.item() == pytest.approx(0.3 + 0.42)


# --- the noise ---


def test_noise_has_mean_0_and_the_spread_of_clip_norm_and_multiplier_over_the_expected_clients():
    noise = noise_of(private_mean(private(noise=3.0, clip_norm=0.5, client_fraction=0.4)))
    spread = 3.0 * 0.5 / (0.4 * 10)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * spread)
    assert noise.std().item() == pytest.approx(spread, rel=0.02)
    assert (noise.abs() > 2 * spread).double().mean().item() == pytest.approx(0.0455, abs=0.005)  # it is Gaussian


def test_noise_is_drawn_by_name():
    algorithm = private_mean(private())
    first = noise_of(algorithm)
    assert torch.equal(first, noise_of(algorithm))
    others = [noise_of(algorithm, round_index=1), noise_of(private_mean(private(), seed=1))]
    for other in others:
        assert torch.corrcoef(torch.stack([first, other]))[0, 1].abs() < 0.02


def test_noise_is_added_to_the_sum():
    algorithm = private_mean(private())
    summed = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    mean = algorithm.mean(Collected([], summed, None, 0, 0.1, 0))
    assert torch.allclose(mean - noise_of(algorithm, 1000), summed)


def test_a_round_that_nobody_answers_moves_the_weights_as_any_other():
    chosen = private(noise=1.0, rounds=3, dropout_rate=0.999)
    model = OneWeight()
    state = train(chosen, [1.0], [2.0], model=model)
    assert [entry["clients"] for entry in state.history] == [0, 0, 0]
    assert all(math.isnan(entry["train_loss"]) for entry in state.history)
    assert state.weights.item() != 0  # noise of standard deviation 1 / 2, three times
    assert model.weight.item() == state.weights.item()


def test_less_than_one_expected_client_is_refused():
    with pytest.raises(ValueError, match=r"client_fraction \* num_clients must be >= 1 with privacy, got 0.02"):
        train(private(noise=1.0, client_fraction=0.01), [1.0], [2.0])


def test_no_round_spends_nothing():
    assert epsilon(private(noise=1.0, rounds=5), rounds=0) == 0.0


def test_the_same_private_training_gives_the_same_bits():
    chosen = private(noise=0.5, rounds=3, client_fraction=0.5)
    assert train(chosen, [1.0], [5.0], [2.0]).weights.item() == train(chosen, [1.0], [5.0], [2.0]).weights.item()


# --- the budget ---


def test_epsilon_is_that_of_opacus():
    chosen = private(noise=1.1, delta=1e-6, rounds=50, client_fraction=0.1)
    orders = [1 + x / 10.0 for x in range(1, 100)] + list(range(12, 64))
    rdp = compute_rdp(q=0.1, noise_multiplier=1.1, steps=50, orders=orders)
    expected, _ = get_privacy_spent(orders=orders, rdp=rdp, delta=1e-6)
    assert epsilon(chosen) == pytest.approx(expected, rel=1e-9)
    assert 1 < expected < 10


@pytest.mark.parametrize("multiplier", [1.0, 2.0, 5.0])
def test_epsilon_of_one_round_of_all_clients_is_not_above_the_bound_by_hand(multiplier):
    # Mironov (2017): the divergence of order a is a / (2 z^2), and epsilon <= 1 / (2 z^2) + sqrt(2 log(1 / delta)) / z
    bound = 1 / (2 * multiplier**2) + math.sqrt(2 * math.log(1e5)) / multiplier
    assert 0 < epsilon(private(noise=multiplier, rounds=1)) <= bound * 1.001


def test_epsilon_grows_with_rounds_and_clients_and_falls_with_noise_and_delta():
    def of(**changes: object) -> float:
        return epsilon(private(**({"noise": 1.0, "rounds": 20, "client_fraction": 0.2} | changes)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus says where its best order is the largest one it tried
        for changes in (
            [{"rounds": rounds} for rounds in (1, 10, 100, 1000)],
            [{"client_fraction": fraction} for fraction in (0.01, 0.1, 0.5, 1.0)],
            [{"noise": noise} for noise in (5.0, 2.0, 1.0, 0.5)],
            [{"delta": delta} for delta in (1e-3, 1e-5, 1e-8)],
        ):
            spent_by = [of(**change) for change in changes]
            assert spent_by == sorted(spent_by)
            assert len(set(spent_by)) == len(spent_by)


def test_epsilon_after_some_rounds_is_that_of_a_training_of_so_many():
    chosen = private(rounds=30, client_fraction=0.2)
    assert epsilon(chosen, rounds=10) == epsilon(private(rounds=10, client_fraction=0.2)) < epsilon(chosen)


def test_epsilon_does_not_depend_on_the_scale_of_the_clip():
    assert epsilon(private(clip_norm=0.1, rounds=5)) == epsilon(private(clip_norm=10.0, rounds=5))


def test_without_noise_nothing_is_private():
    assert epsilon(settings(privacy=NO_NOISE)) == math.inf
    assert epsilon(settings()) == math.inf


def test_what_is_spent_is_reported_only_with_privacy():
    assert spent(settings()) == {}
    chosen = private(noise=1.0, delta=1e-4, rounds=5)
    assert spent(chosen) == {"epsilon": epsilon(chosen), "delta": 1e-4}
