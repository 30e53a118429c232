"""Alignment by hand, and mixtures that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.pseudo_labels.alignment import aligned, class_mixture, global_weights, smoothed_prior


def test_the_prior_has_one_more_sample_of_every_class():
    assert smoothed_prior(np.array([7, 2, 0])).tolist() == pytest.approx([8 / 12, 3 / 12, 1 / 12])


def test_aligned_predictions_by_hand():
    """(0.5, 0.3, 0.2) * (1, 2, 2) = (0.5, 0.6, 0.4), of 1.5: another class is predicted."""
    found = aligned(np.array([[0.5, 0.3, 0.2]]), np.array([1.0, 2.0, 2.0]))
    assert found[0].tolist() == pytest.approx([1 / 3, 0.4, 4 / 15])


def test_global_weights_by_hand():
    """Two samples whose probabilities sum to (1.5, 0.3, 0.2), a prior of thirds: means (11, 3.8, 3.2) / 18."""
    weights = global_weights(np.array([1.5, 0.3, 0.2]), 2, np.full(3, 1 / 3))
    assert weights == pytest.approx([6 / 11, 6 / 3.8, 6 / 3.2])
    assert global_weights(np.zeros(3), 0, np.full(3, 1 / 3)) == pytest.approx(np.ones(3))


def test_a_class_that_is_never_predicted_has_a_weight_all_the_same():
    assert global_weights(np.array([10.0, 0.0]), 10, np.array([0.5, 0.5]))[1] == pytest.approx(11)


def test_without_samples_the_mixture_is_the_prior():
    prior = np.array([0.7, 0.2, 0.1])
    assert class_mixture(np.empty((0, 3)), prior) == pytest.approx(prior)


def test_certain_predictions_are_counted():
    """Three of class 0 and one of class 1, and three more samples of the prior."""
    certain = np.eye(3)[[0, 0, 0, 1]]
    assert class_mixture(certain, np.full(3, 1 / 3)) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_predictions_that_say_nothing_leave_the_prior():
    prior = np.array([0.7, 0.2, 0.1])
    assert class_mixture(np.tile(prior, (50, 1)), prior) == pytest.approx(prior)


def posterior(x: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """p(y | x) of three unit normals at -2, 0 and 2, in the proportions of `prior`."""
    likelihood = np.exp(-0.5 * (x[:, None] - np.array([-2.0, 0.0, 2.0])) ** 2)
    return aligned(likelihood, prior)


@pytest.mark.parametrize("mixture", [(0.8, 0.15, 0.05), (0.1, 0.1, 0.8), (0.0, 0.5, 0.5)])
def test_a_mixture_is_found_from_predictions_that_assume_another_one(mixture):
    """Saerens et al.: the classifier knows its own prior only; the samples come from another one. What is estimated,
    the aligned predictions know: they are the posterior of the true mixture."""
    rng, prior = np.random.default_rng(0), np.array([0.2, 0.5, 0.3])
    true = rng.choice(3, 4000, p=mixture)
    x = rng.standard_normal(4000) + 2 * (true - 1)
    predictions = posterior(x, prior)
    found = class_mixture(predictions, prior)
    assert found == pytest.approx(np.array(mixture), abs=0.03)
    assert np.abs(predictions.mean(axis=0) - mixture).max() > 0.05  # the mean prediction is not the mixture
    assert np.abs(aligned(predictions, found / prior) - posterior(x, np.array(mixture))).mean() < 0.01


@given(st.integers(0, 10_000))
def test_the_mixture_is_a_fixed_point_and_a_distribution(seed):
    rng = np.random.default_rng(seed)
    predictions, prior = rng.dirichlet(np.full(3, 0.3), 20), rng.dirichlet(np.full(3, 3.0))
    mixture = class_mixture(predictions, prior)
    assert mixture.sum() == pytest.approx(1)
    assert (mixture > 0).all()
    again = (aligned(predictions, mixture / prior).sum(axis=0) + 3 * prior) / 23
    assert again == pytest.approx(mixture, abs=2e-3)
