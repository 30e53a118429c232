"""Do synthetic images lie where real ones do, and do they lie everywhere that real ones do?

Precision and recall of Kynkäänniemi et al. (2019), density and coverage of Naeem et al. (2020). The neighbourhood of a
point is the ball around it that reaches to its k-th nearest neighbour in its own set.
"""

import torch
from torch import Tensor

from fedsyn.metrics.distances import bands, kth_neighbour, squared_distances

NAMES = ("precision", "recall", "density", "coverage")


def support(real: Tensor, synthetic: Tensor, k: int) -> dict[str, float]:
    """The four measures of features (N, D) and (M, D); NaN where a set has no more than k points.

    precision: share of synthetic images in the neighbourhood of a real one; recall: the reverse; density: mean number
    of real neighbourhoods that a synthetic image lies in, in units of k (it may exceed 1, and one outlier among the
    real images does not make it large); coverage: share of real images with a synthetic one in their neighbourhood.
    """
    if min(len(real), len(synthetic)) <= k:
        return dict.fromkeys(NAMES, float("nan"))
    around_real, around_synthetic = kth_neighbour(real, k), kth_neighbour(synthetic, k)
    holds = torch.zeros(len(synthetic), dtype=torch.int64, device=real.device)  # real neighbourhoods around each
    reached, covered = [], []
    for start, band in bands(real):
        squared = squared_distances(band, synthetic)  # (rows, M)
        inside = squared <= around_real[start : start + len(band), None]
        holds += inside.sum(0)
        covered.append(inside.any(1))
        reached.append((squared <= around_synthetic).any(1))
    return {
        "precision": float((holds > 0).double().mean()),
        "recall": float(torch.cat(reached).double().mean()),
        "density": float(holds.double().mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }
