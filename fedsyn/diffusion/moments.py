"""Federated moments: clients send sums and sums of squares of their latents, the server standardises with them."""

import torch
from torch import Tensor

LARGEST = 1e4
"""Standard deviation, or mean, beyond which a latent has nothing to do with N(0, 1) any more."""


def client_sums(latents: Tensor, std: Tensor | None = None) -> Tensor:
    """Client side: per channel the number of elements, their sum and sum of squares.

    `latents`: (n, c, h, w); with `std` of the same shape they are the means of normal distributions that latents are
    drawn from, and the squares are their expectations, mean^2 + std^2. Returns (3, c) float64.
    """
    wide = latents.double()
    squares = wide.square() if std is None else wide.square() + std.double().square()
    return torch.stack([torch.ones_like(wide).sum((0, 2, 3)), wide.sum((0, 2, 3)), squares.sum((0, 2, 3))])


def mean_and_std(sums: Tensor, *, learned: bool = True, one_scale: bool = False) -> tuple[Tensor, Tensor]:
    """Server side: per-channel mean and standard deviation, each (c,), from the added-up sums (3, c).

    `learned`: latents are an autoencoder's. Those that are pixels may have a channel that never varies (a colour that
    no image has); it is centred, and its deviation is 1. `one_scale`: all channels get one deviation, the root of their
    mean variance, so that they keep their proportions.

    Raises:
        ValueError: a channel of an autoencoder's latents does not vary (it has collapsed), or latents are huge or no
            numbers (it has exploded).
    """
    count, total, squares = sums
    mean = total / count
    variance = squares / count - mean.square()
    usual = torch.isfinite(variance) & (variance < LARGEST**2) & (mean.abs() < LARGEST)
    if not bool(usual.all()):
        raise ValueError(
            f"latents: the autoencoder has exploded, {_listed(~usual, mean, variance)}; "
            "lower autoencoder.learning_rate, set autoencoder.gradient_clip, or raise autoencoder.kl_weight"
        )
    varies = variance > 1e-8
    if learned and not bool(varies.all()):
        raise ValueError(
            f"latents: the autoencoder has collapsed, {_listed(~varies, mean, variance)}; "
            "lower autoencoder.kl_weight or train it longer (autoencoder.rounds)"
        )
    if one_scale:
        return mean, variance.mean().sqrt().repeat(len(mean))
    return mean, torch.where(varies, variance, 1.0).sqrt()


def _listed(chosen: Tensor, mean: Tensor, variance: Tensor) -> str:
    channels = chosen.nonzero().flatten().tolist()
    return ", ".join(f"channel {k} has mean {mean[k]:.3g} and variance {variance[k]:.3g}" for k in channels)
