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


@pytest.mark.parametrize(("wrong", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (1e9, r"\de\+")])
def test_latents_that_are_huge_or_no_numbers_are_an_exploded_autoencoder(wrong, shown):
    broken = latents(10)
    broken[0, 2, 0, 0] = wrong
    with pytest.raises(
        ValueError, match=rf"exploded, channel 2 has mean .*{shown}.*autoencoder\.learning_rate"
    ) as error:
        mean_and_std(client_sums(broken))
    assert "channel 0" not in str(error.value)


def test_a_channel_of_pixels_that_never_varies_is_centred_and_not_stretched():
    pixels = latents(10)
    pixels[:, 1] = -1.0
    mean, std = mean_and_std(client_sums(pixels), learned=False)
    assert (mean[1], std[1]) == (-1, 1)
    assert std[2] == pytest.approx(5, rel=0.2)
    with pytest.raises(ValueError, match="collapsed, channel 1 has mean -1 and variance 0;"):
        mean_and_std(client_sums(pixels))


def test_channels_of_one_scale_keep_their_proportions():
    own = torch.tensor([[[[1.0]], [[7.0]]], [[[3.0]], [[-7.0]]]])  # variances 1 and 49: 25 on average
    mean, std = mean_and_std(client_sums(own), learned=False, one_scale=True)
    assert mean.tolist() == [2, 0]
    assert std.tolist() == [5, 5]


def test_the_spread_of_a_distribution_counts_as_the_spread_of_what_is_drawn_from_it():
    mean, std = latents(5), latents(5, seed=1).abs()
    normal = torch.from_numpy(np.random.default_rng(2).standard_normal((5, 20_000, 3, 4, 4), np.float32))
    drawn = mean[:, None] + std[:, None] * normal  # (5, 20000, 3, 4, 4)
    expected = mean_and_std(client_sums(drawn.flatten(0, 1)))
    for one, other in zip(mean_and_std(client_sums(mean, std)), expected, strict=True):
        assert one.tolist() == pytest.approx(other.tolist(), abs=0.02, rel=0.01)
