"""Step 0, function by function: properties that hold for every draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.data.partition import (
    PartitionError,
    apportion,
    by_priors,
    dirichlet_priors,
    hold_out,
    iid,
    keep_labels,
    reach_minimum,
)

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)
SEEDS = st.integers(0, 2**32 - 1)
FRACTIONS = st.floats(0.001, 1.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20).map(np.array), st.floats(0, 1))
def test_apportioned_numbers_sum_to_the_total_and_stay_within_one_of_their_quotas(weights, share):
    total = round(1000 * share)
    quotas = weights * (total / weights.sum()) if weights.sum() > 1e-9 else np.full(len(weights), total / len(weights))
    numbers = apportion(quotas, total)
    assert numbers.sum() == total
    assert (np.abs(numbers - quotas) < 1 + 1e-6).all()


def test_the_largest_remainders_are_rounded_up():
    assert apportion(np.array([1.2, 2.5, 0.3]), 4).tolist() == [1, 3, 0]
    assert apportion(np.array([0.5, 0.5, 1.0]), 2).tolist() == [1, 0, 1]  # a tie goes to the first
    assert apportion(np.array([0.1, 0.2]) * 10, 3).tolist() == [1, 2]


@given(LABELS, FRACTIONS, SEEDS)
def test_kept_labels_are_stratified(labels, fraction, seed):
    kept = keep_labels(labels, fraction, rng(seed))
    quotas = {class_id: (labels == class_id).sum() * fraction for class_id in np.unique(labels)}
    for class_id, quota in quotas.items():
        number = kept[labels == class_id].sum()
        assert number >= 1
        assert abs(number - quota) < 1 or number == 1
    if min(quotas.values()) >= 1:
        assert kept.sum() == round(fraction * len(labels))


def test_ten_of_a_hundred_keep_their_labels_and_each_class_its_share():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    kept = keep_labels(labels, 0.1, rng())
    assert np.bincount(labels[kept]).tolist() == [5, 3, 2]


def test_a_class_too_small_for_the_fraction_keeps_one_label():
    labels = np.repeat([0, 1], [99, 1])
    assert np.bincount(labels[keep_labels(labels, 0.05, rng())]).tolist() == [5, 1]


def test_which_labels_are_kept_depends_on_the_seed_only():
    labels = np.zeros(100, dtype=int)
    assert (keep_labels(labels, 0.1, rng(1)) == keep_labels(labels, 0.1, rng(1))).all()
    assert (keep_labels(labels, 0.1, rng(1)) != keep_labels(labels, 0.1, rng(2))).any()


@given(LABELS, st.floats(0, 0.9), SEEDS)
def test_a_held_out_slice_is_stratified_and_of_the_size_asked_for(labels, fraction, seed):
    held = hold_out(labels, fraction, rng(seed))
    assert held.sum() == round(fraction * len(labels))
    for class_id in np.unique(labels):
        members = labels == class_id
        assert abs(held[members].sum() - fraction * members.sum()) <= 1 + 1e-9


def test_a_slice_of_nothing_is_nothing():
    assert hold_out(np.array([], dtype=int), 0.2, rng()).tolist() == []


@given(st.integers(0, 300), st.integers(1, 50), SEEDS)
def test_iid_sizes_differ_by_one_at_most(num_samples, num_clients, seed):
    clients = iid(num_samples, num_clients, rng(seed))
    sizes = np.bincount(clients, minlength=num_clients)
    assert len(clients) == sizes.sum() == num_samples
    assert len(sizes) == num_clients
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 20), st.integers(1, 50), st.floats(-6, 4).map(lambda power: 10**power), SEEDS)
def test_dirichlet_rows_are_finite_and_sum_to_one_for_every_alpha(num_classes, num_clients, alpha, seed):
    priors = dirichlet_priors(num_classes, num_clients, alpha, rng(seed))
    assert priors.shape == (num_classes, num_clients)
    assert np.isfinite(priors).all()
    assert (priors >= 0).all()
    assert priors.sum(axis=1) == pytest.approx(1)


def test_a_tiny_alpha_gives_each_class_to_one_client():
    assert dirichlet_priors(50, 10, 1e-6, rng()).max(axis=1) == pytest.approx(1)


def test_a_large_alpha_gives_equal_shares():
    assert dirichlet_priors(50, 10, 1e6, rng()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 5.0])
def test_priors_have_the_moments_of_a_dirichlet_distribution(alpha):
    """Mean 1/K, variance (1/K)(1 - 1/K) / (K alpha + 1)."""
    num_clients = 5
    priors = dirichlet_priors(20_000, num_clients, alpha, rng())
    variance = (1 / num_clients) * (1 - 1 / num_clients) / (num_clients * alpha + 1)
    assert priors.mean(axis=0) == pytest.approx(1 / num_clients, abs=0.01)
    assert priors.var(axis=0) == pytest.approx(variance, rel=0.05)


@given(LABELS, st.integers(1, 12), st.floats(-6, 2).map(lambda power: 10**power), SEEDS)
def test_every_sample_goes_to_one_client_in_the_shares_of_its_class(labels, num_clients, alpha, seed):
    priors = dirichlet_priors(6, num_clients, alpha, rng(seed))
    clients = by_priors(labels, priors, rng(seed))
    assert clients.shape == labels.shape
    assert ((clients >= 0) & (clients < num_clients)).all()
    for class_id in range(6):
        own = clients[labels == class_id]
        assert (np.abs(np.bincount(own, minlength=num_clients) - priors[class_id] * len(own)) <= 1 + 1e-6).all()


def test_a_class_is_dealt_out_by_hand():
    labels = np.array([0] * 8 + [1] * 4)
    clients = by_priors(labels, np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]), rng())
    assert np.bincount(clients[:8]).tolist() == [4, 2, 2]
    assert clients[8:].tolist() == [2, 2, 2, 2]
    assert clients[:8].tolist() != sorted(clients[:8])  # at random, not in the order of the file


@st.composite
def crowded_clients(draw):
    num_clients = draw(st.integers(1, 8))
    clients = draw(st.lists(st.integers(0, num_clients - 1), max_size=60).map(lambda rows: np.array(rows, dtype=int)))
    return clients, num_clients, draw(st.integers(0, len(clients) // num_clients))


@given(crowded_clients(), SEEDS)
def test_the_minimum_is_reached_by_moving_no_more_than_needed_from_clients_above_it(case, seed):
    clients, num_clients, minimum = case
    before = np.bincount(clients, minlength=num_clients)
    spread, moves = reach_minimum(clients, num_clients, minimum, "partition.min_labeled", rng(seed))

    after = np.bincount(spread, minlength=num_clients)
    assert after.sum() == before.sum()
    assert (after >= minimum).all()
    assert len(moves) == np.maximum(0, minimum - before).sum()
    assert (after[before < minimum] == minimum).all()
    assert (before[[move["source"] for move in moves]] > minimum).all()

    replayed, sizes = clients.copy(), before.copy()
    for move in moves:
        assert replayed[move["sample"]] == move["source"]
        assert sizes[move["source"]] == sizes.max()
        replayed[move["sample"]] = move["target"]
        sizes[move["source"]] -= 1
        sizes[move["target"]] += 1
    assert (replayed == spread).all()


def test_clients_who_have_enough_keep_what_they_have():
    clients = np.array([0, 0, 0, 1, 1, 1])
    spread, moves = reach_minimum(clients, 2, 3, "partition.min_labeled", rng())
    assert spread.tolist() == clients.tolist()
    assert moves == []


def test_the_given_assignment_is_left_as_it_was():
    clients = np.array([0, 0, 0, 0])
    reach_minimum(clients, 2, 2, "partition.min_labeled", rng())
    assert clients.tolist() == [0, 0, 0, 0]


def test_a_minimum_out_of_reach_is_refused_with_its_field_and_the_way_out():
    with pytest.raises(PartitionError) as caught:
        reach_minimum(np.zeros(10, dtype=int), 4, 3, "partition.min_unlabeled", rng())
    message = str(caught.value)
    assert "partition.min_unlabeled must be <= 2 for 4 clients and 10 samples, got 3" in message
    assert "partition.num_clients" in message
