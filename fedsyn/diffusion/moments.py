"""Federated moments: clients send sums and sums of squares of their latents, the server standardises with them."""

import torch
from torch import Tensor


def client_sums(latents: Tensor) -> Tensor:
    """Client side: per channel the number of elements, their sum and sum of squares.

    `latents`: (n, c, h, w). Returns (3, c) float64.
    """
    wide = latents.double()
    count = torch.ones_like(wide).sum((0, 2, 3))
    return torch.stack([count, wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])


def mean_and_std(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Server side: per-channel mean and standard deviation, each (c,), from the added-up sums (3, c).

    Raises:
        ValueError: a channel's latents do not vary: the autoencoder has collapsed.
    """
    count, total, squares = sums
    mean = total / count
    variance = squares / count - mean.square()
    if not bool((variance > 1e-8).all()):
        raise ValueError(
            f"latents: the autoencoder has collapsed, its channels have variances {variance.tolist()}; "
            "lower autoencoder.kl_weight or train it longer (autoencoder.rounds)"
        )
    return mean, variance.sqrt()
