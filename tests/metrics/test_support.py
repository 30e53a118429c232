"""Precision, recall, density and coverage, and the distances beneath them, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn.metrics import distances
from fedsyn.metrics.distances import kth_neighbour, mean_pairwise_distance, squared_distances
from fedsyn.metrics.support import NAMES, support


def slow_support(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, float]:
    def radius(points: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(points[i] - other) for other in points)[k]  # the first is the point itself

    def inside(point: np.ndarray, points: np.ndarray, i: int) -> bool:
        return np.linalg.norm(point - points[i]) <= radius(points, i)

    around = [[inside(y, real, i) for i in range(len(real))] for y in synthetic]  # (M, N)
    return {
        "precision": np.mean([any(row) for row in around]),
        "recall": np.mean([any(inside(x, synthetic, j) for j in range(len(synthetic))) for x in real]),
        "density": np.sum(around) / (k * len(synthetic)),
        "coverage": np.mean(np.any(around, axis=0)),
    }


@pytest.fixture
def narrow_bands(monkeypatch):
    monkeypatch.setattr(distances.bands, "__defaults__", (7,))


@pytest.mark.parametrize(("seed", "k"), [(0, 1), (1, 3), (2, 5)])
def test_in_bands_it_is_what_two_loops_find(seed, k, narrow_bands):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.standard_normal((30, 3)), 0.7 * rng.standard_normal((20, 3)) + 0.5
    assert support(torch.from_numpy(real), torch.from_numpy(synthetic), k) == pytest.approx(
        slow_support(real, synthetic, k)
    )


def test_by_hand_on_a_line():
    """Real 0, 1, 2, 10 with k = 1: radii 1, 1, 1, 8. Synthetic 0.5, 0.6 and 30: radii 0.1, 0.1 and 29.4.

    0.5 and 0.6 lie around 0 and 1; 30 lies around nothing. 0.6 reaches 0.5 to 0.7, where no real point is; 30 reaches
    down to 0.6, and so to 1, 2 and 10.
    """
    real, synthetic = (torch.tensor(points).double()[:, None] for points in ([0.0, 1, 2, 10], [0.5, 0.6, 30]))
    assert support(real, synthetic, 1) == pytest.approx(
        {"precision": 2 / 3, "recall": 3 / 4, "density": 4 / 3, "coverage": 2 / 4}
    )


def test_far_away_nothing_is_shared():
    points = torch.arange(12.0).double().reshape(6, 2)
    assert support(points, points + 1000, 2) == dict.fromkeys(NAMES, 0.0)


def test_one_image_again_and_again_is_precise_and_covers_little():
    real = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = support(real, real[:1].repeat(50, 1), 5)
    assert found["precision"] == 1
    assert found["coverage"] < 0.1
    assert found["recall"] < 0.1


def test_without_enough_neighbours_there_is_no_number():
    assert all(np.isnan(value) for value in support(torch.zeros(3, 2), torch.zeros(9, 2), 3).values())


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), number=st.integers(2, 20), width=st.integers(1, 5))
def test_distances_are_those_of_the_differences(seed, number, width):
    points = np.random.default_rng(seed).standard_normal((number, width))
    slow = np.linalg.norm(points[:, None] - points, axis=2)
    fast = torch.from_numpy(points)
    np.testing.assert_allclose(squared_distances(fast, fast).sqrt(), slow, atol=1e-6)
    np.testing.assert_allclose(kth_neighbour(fast, 1).sqrt(), np.sort(slow, axis=1)[:, 1], atol=1e-6)
    assert mean_pairwise_distance(fast) == pytest.approx(slow.sum() / (number * (number - 1)), abs=1e-6)


def test_the_mean_distance_of_three_points_in_bands(monkeypatch):
    """A triangle of sides 3, 4 and 5."""
    monkeypatch.setattr(distances.bands, "__defaults__", (2,))
    assert mean_pairwise_distance(torch.tensor([[0.0, 0], [3, 0], [0, 4]]).double()) == pytest.approx(4)


def test_equal_images_have_no_distance_and_one_image_has_none_to_measure():
    assert mean_pairwise_distance(torch.full((5, 3), 1e4).double()) == 0
    assert np.isnan(mean_pairwise_distance(torch.zeros(1, 3)))
