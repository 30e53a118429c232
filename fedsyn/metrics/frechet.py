"""The Fréchet distance of two sets of features, each taken for a Gaussian (Heusel et al., 2017).

Only with the features of the Inception network of that paper is it the FID.
"""

import torch
from torch import Tensor


def frechet_distance(real: Tensor, synthetic: Tensor) -> float:
    """Of features (N, D) and (M, D); NaN where a set has fewer than two. It falls with N and M: compare equal sizes."""
    if min(len(real), len(synthetic)) < 2:
        return float("nan")
    return gaussian_frechet_distance(*moments(real), *moments(synthetic))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of features (N, D), in float64, with N - 1 in the denominator."""
    features = features.double()
    return features.mean(0), features.T.cov().reshape(features.shape[1], -1)


def gaussian_frechet_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), the squared 2-Wasserstein distance of two Gaussians, in float64.

    tr (S S')^(1/2) is the sum of the roots of the eigenvalues of S^(1/2) S' S^(1/2), which is symmetric: no complex
    numbers, and singular covariances (features that never fire) do no harm.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ other_covariance.double() @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    apart = (mean.double() - other_mean.double()).square().sum()
    return float((apart + covariance.trace() + other_covariance.trace() - 2 * overlap).clamp(min=0))
