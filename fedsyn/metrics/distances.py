"""Distances between many points, a band of rows at a time: memory grows with the number of points, not its square."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fedsyn import interruption

ROWS = 256
"""Rows of a band: with 10,000 columns in float64, 20 MB."""


def bands(points: Tensor, rows: int = ROWS) -> Iterator[tuple[int, Tensor]]:
    """The points (N, D) in bands of at most `rows`, each with the row that it starts at.

    Raises:
        Interrupted: a signal asked to stop.
    """
    for start in range(0, len(points), rows):
        interruption.check()
        yield start, points[start : start + rows]


def squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances (N, M) of points (N, D) and (M, D), as one matrix product."""
    squares = points.square().sum(1)[:, None] + others.square().sum(1)
    return squares.addmm_(points, others.T, alpha=-2).clamp_(min=0)


def kth_neighbour(points: Tensor, k: int) -> Tensor:
    """Squared distance (N,) of each point (N, D) to its k-th nearest other one; k < N."""
    radii = []
    for start, band in bands(points):
        squared = squared_distances(band, points)
        own = torch.arange(len(band), device=points.device)
        squared[own, start + own] = torch.inf
        radii.append(squared.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def mean_pairwise_distance(points: Tensor) -> float:
    """Mean Euclidean distance of two different points out of (N, D); NaN where there are not two."""
    number = len(points)
    if number < 2:
        return float("nan")
    centred = points - points.mean(0)
    total = 0.0
    for start, band in bands(centred):
        distance = squared_distances(band, centred).sqrt()
        own = torch.arange(len(band), device=points.device)
        distance[own, start + own] = 0
        total += float(distance.sum())
    return total / (number * (number - 1))
