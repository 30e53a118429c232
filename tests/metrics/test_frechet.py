"""The Fréchet distance, on Gaussians whose distance is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from fedsyn.metrics.frechet import frechet_distance, gaussian_frechet_distance, moments


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def covariance(rng: np.random.Generator, width: int, rank: int) -> np.ndarray:
    root = rng.standard_normal((width, rank))
    return root @ root.T


def test_on_a_line_it_is_the_difference_of_means_and_of_deviations_each_squared():
    """(3 - 1)^2 + (2 - 5)^2."""
    assert gaussian_frechet_distance(tensor([3.0]), tensor([[4.0]]), tensor([1.0]), tensor([[25.0]])) == pytest.approx(
        13
    )


def test_of_diagonal_covariances_it_is_the_sum_over_the_axes():
    """Means are equal; deviations 1 and 3 against 2 and 0: (1 - 2)^2 + (3 - 0)^2."""
    mean = tensor([0.0, 0.0])
    assert gaussian_frechet_distance(
        mean, tensor([[1.0, 0], [0, 9]]), mean, tensor([[4.0, 0], [0, 0]])
    ) == pytest.approx(10)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), width=st.integers(1, 6), rank=st.integers(1, 6))
def test_it_agrees_with_the_matrix_root_and_does_not_ask_which_comes_first(seed, width, rank):
    rng = np.random.default_rng(seed)
    one, other = covariance(rng, width, 6), covariance(rng, width, rank)
    mean, other_mean = rng.standard_normal((2, width))
    root = np.real(sqrtm(one @ other + 1e-13 * np.eye(width)))
    slow = np.square(mean - other_mean).sum() + np.trace(one + other - 2 * root)
    fast = gaussian_frechet_distance(*map(tensor, (mean, one, other_mean, other)))
    assert fast == pytest.approx(slow, rel=1e-5, abs=1e-5)
    assert gaussian_frechet_distance(*map(tensor, (other_mean, other, mean, one))) == pytest.approx(fast, abs=1e-5)


def test_moments_are_those_of_numpy():
    features = np.random.default_rng(0).standard_normal((7, 3))
    mean, spread = moments(tensor(features))
    np.testing.assert_allclose(mean, features.mean(0))
    np.testing.assert_allclose(spread, np.cov(features.T))


def test_a_set_has_no_distance_to_itself_even_where_features_never_fire():
    features = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features[:, 3] = 0
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + tensor([0, 0, 0, 2.0, 0])) == pytest.approx(4)


def test_one_image_has_no_spread():
    assert np.isnan(frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3)))
