"""The kernel distance of two sets of features: squared maximum mean discrepancy (Bińkowski et al., 2018).

Only with the features of the Inception network is it the KID.
"""

from torch import Tensor

from fedsyn.metrics.distances import bands


def kernel_distance(real: Tensor, synthetic: Tensor) -> float:
    """The unbiased estimate of MMD^2 of features (N, D) and (M, D) under k(x, y) = (x.y / D + 1)^3.

    Its expectation does not depend on N and M, and it may come out below zero. Over all pairs, where usual
    implementations average over random subsets. NaN where a set has fewer than two.
    """
    if min(len(real), len(synthetic)) < 2:
        return float("nan")
    within = sum(
        _kernel_sum(points, points, same=True) / (len(points) * (len(points) - 1)) for points in (real, synthetic)
    )
    return within - 2 * _kernel_sum(real, synthetic) / (len(real) * len(synthetic))


def _kernel_sum(points: Tensor, others: Tensor, same: bool = False) -> float:
    """The kernel's sum over all pairs; without those of a point with itself where both sets are the `same`."""
    width = points.shape[1]
    total = sum(float(_cubic((band @ others.T).div_(width)).sum()) for _, band in bands(points))
    return total - float(_cubic(points.square().sum(1).div_(width)).sum()) if same else total


def _cubic(product: Tensor) -> Tensor:
    return product.add_(1).pow_(3)  # in place: the largest tensors of the stage
