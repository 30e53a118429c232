"""Principal components by one exchange of sums are those of all images in one place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fedsyn.diffusion.principal_components import client_products, principal_components


def added(clients: list[torch.Tensor]) -> tuple[int, torch.Tensor, torch.Tensor]:
    counts, totals, products = zip(*map(client_products, clients), strict=True)
    return sum(counts), torch.stack(totals).sum(0), torch.stack(products).sum(0)


def test_directions_by_hand():
    """Four images of two pixels: 3 away from (1, 2) along (3, 4) / 5, and 1 away across."""
    along, across = torch.tensor([0.6, 0.8]), torch.tensor([0.8, -0.6])
    images = torch.tensor([1.0, 2.0]) + torch.stack([3 * along, -3 * along, across, -across])
    mean, directions = principal_components(*added(list(images.reshape(4, 1, 1, 1, 2))), components=2)
    assert mean.tolist() == pytest.approx([1, 2])
    assert directions.flatten().tolist() == pytest.approx([0.6, 0.8, 0.8, -0.6])  # the larger element is positive


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 8), st.integers(0, 99))
def test_clients_together_find_what_scikit_learn_finds_in_one_place(sizes, seed):
    scale = np.array([5, 3, 2, 1, 0.5, 0.1])
    pooled = np.random.default_rng(seed).standard_normal((sum(sizes), 6)) * scale + 0.3
    clients = torch.from_numpy(pooled.reshape(-1, 1, 2, 3)).split(sizes)
    mean, directions = principal_components(*added(list(clients)), components=3)
    twin = PCA(n_components=3, svd_solver="full").fit(pooled)
    assert mean.numpy() == pytest.approx(twin.mean_)
    assert np.abs((directions.numpy() * twin.components_).sum(1)) == pytest.approx(np.ones(3), abs=1e-6)
    assert (directions @ directions.T).numpy() == pytest.approx(np.eye(3), abs=1e-9)
    assert (directions.amax(1) >= directions.abs().amax(1)).all()
