"""Federated moments are those of all latents in one place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.diffusion.moments import client_sums, mean_and_std


def latents(count: int, seed: int = 0) -> torch.Tensor:
    scale = np.array([1.0, 0.01, 5.0])[:, None, None]
    values = np.random.default_rng(seed).standard_normal((count, 3, 4, 4)) * scale + np.array([0, 1, -3])[:, None, None]
    return torch.from_numpy(values.astype(np.float32))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any), st.integers(0, 99))
def test_moments_are_those_of_the_pooled_latents(sizes, seed):
    pooled = latents(sum(sizes), seed)
    mean, std = mean_and_std(torch.stack([client_sums(own) for own in pooled.split(sizes)]).sum(0))
    assert mean.numpy() == pytest.approx(pooled.double().mean((0, 2, 3)).numpy(), rel=1e-6, abs=1e-6)
    assert std.numpy() == pytest.approx(pooled.double().std((0, 2, 3), unbiased=False).numpy(), rel=1e-4)


def test_sums_by_hand():
    own = torch.tensor([[[[1.0, 2.0]], [[0.0, -1.0]]]])  # one latent, two channels of 1 x 2
    assert client_sums(own).tolist() == [[2, 2], [3, -1], [5, 1]]
    mean, std = mean_and_std(client_sums(own))
    assert mean.tolist() == [1.5, -0.5]
    assert std.tolist() == [0.5, 0.5]


def test_a_client_without_images_adds_nothing():
    assert client_sums(latents(0)).tolist() == [[0.0] * 3] * 3


def test_latents_that_do_not_vary_are_a_collapsed_autoencoder():
    collapsed = latents(10)
    collapsed[:, 1] = 0.3
    with pytest.raises(ValueError, match=r"collapsed.*autoencoder\.kl_weight.*autoencoder\.rounds"):
        mean_and_std(client_sums(collapsed))


def test_latents_that_are_no_numbers_are_refused_too():
    broken = latents(10)
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="collapsed"):
        mean_and_std(client_sums(broken))
