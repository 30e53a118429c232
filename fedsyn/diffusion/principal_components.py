"""Federated principal components: clients send sums of their images and of products, the server finds the directions.

One exchange, and what comes out is that of all images in one place.
"""

import torch
from torch import Tensor

LARGEST = 4096
"""Values of an image up to which products of all pairs are sent: 128 MiB a client."""


def client_products(images: Tensor) -> tuple[int, Tensor, Tensor]:
    """Client side: the number of images (n, C, H, W), their sum (P,) and that of x x^T (P, P), float64; P = C H W."""
    wide = images.flatten(1).double()
    return len(wide), wide.sum(0), wide.T @ wide


def principal_components(count: int, total: Tensor, products: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Server side: the mean (P,) and the `components` orthonormal directions (D, P) of largest variance, descending,
    from the added-up sums. Of each direction and its opposite the one whose largest element is positive is taken."""
    mean = total / count
    covariance = products / count - torch.outer(mean, mean)
    _, vectors = torch.linalg.eigh(covariance)  # ascending
    directions = vectors.T.flip(0)[:components]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return mean, directions * largest.sign()
