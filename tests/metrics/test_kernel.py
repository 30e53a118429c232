"""The kernel distance, against its definition."""

import itertools
import math

import numpy as np
import pytest
import torch

from fedsyn.metrics import distances
from fedsyn.metrics.kernel import kernel_distance


def slow_kernel_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Bińkowski et al., equation 4, pair by pair."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / len(x) + 1) ** 3

    def within(points: np.ndarray) -> float:
        return np.mean([kernel(x, y) for x, y in itertools.permutations(points, 2)])

    return within(real) + within(synthetic) - 2 * np.mean([kernel(x, y) for x in real for y in synthetic])


def test_by_hand_on_a_line():
    """Points 0 and 1 against 1 and 2: k(0, 1) = 1 and k(1, 2) = 27 within, (1 + 1 + 8 + 27) / 4 between."""
    real, synthetic = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[1.0], [2.0]]).double()
    assert kernel_distance(real, synthetic) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_in_bands_it_is_what_it_is_pair_by_pair(monkeypatch):
    monkeypatch.setattr(distances.bands, "__defaults__", (3,))
    rng = np.random.default_rng(0)
    real, synthetic = rng.standard_normal((10, 4)), rng.standard_normal((7, 4)) + 0.3
    fast = kernel_distance(torch.from_numpy(real), torch.from_numpy(synthetic))
    assert fast == pytest.approx(slow_kernel_distance(real, synthetic))


def test_it_is_unbiased():
    """Many small samples of one distribution: the mean is zero, and half of them fall below it."""
    rng = np.random.default_rng(0)
    found = [kernel_distance(*torch.from_numpy(rng.standard_normal((2, 5, 3)))) for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0


def test_one_image_has_no_pairs():
    assert math.isnan(kernel_distance(torch.zeros(1, 3), torch.zeros(5, 3)))
