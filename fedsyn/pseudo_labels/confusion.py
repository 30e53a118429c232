"""Confusion matrices M^t over samples of confidence >= t, and the precision that they estimate."""

import numpy as np
from scipy.special import ndtri


def confusion_matrices(
    true: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, grid: np.ndarray, num_classes: int
) -> np.ndarray:
    """Client side: M_k^t[i, j] = number of samples of class i predicted as j with confidence >= t.

    `true`, `predicted`: (n,) class ids; `confidence`: (n,) in [0, 1]; `grid`: (T,) ascending confidences t.
    Returns (T, C, C) int64 counts: rows are true classes, columns predicted ones. Adding clients' matrices gives M_g^t.
    """
    counts = np.zeros((len(grid) + 1, num_classes, num_classes), dtype=np.int64)
    passed = np.searchsorted(grid, confidence, side="right")  # how many t of the grid are <= the confidence
    np.add.at(counts, (passed, true, predicted), 1)
    # a sample that passes p of the thresholds counts in M^t for the first p of them
    return counts[::-1].cumsum(axis=0)[::-1][1:].copy()


def counts_by_threshold(
    predicted: np.ndarray, confidence: np.ndarray, grid: np.ndarray, num_classes: int
) -> np.ndarray:
    """Client side: how many samples are predicted as c with confidence >= t, (T, C) int64."""
    zeros = np.zeros(len(predicted), dtype=np.int64)
    return confusion_matrices(zeros, predicted, confidence, grid, num_classes)[:, 0, :]


def precision(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P_c(t) = M^t[c, c] / sum_i M^t[i, c], NaN where nothing was predicted as c; and the denominators.

    `matrices`: (..., C, C). Returns two arrays (..., C).
    """
    correct = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    total = matrices.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return correct / total, total


def wilson_lower_bound(share: np.ndarray, total: np.ndarray, confidence_level: float) -> np.ndarray:
    """Lower end of Wilson's (1927) one-sided score interval at `confidence_level`; 0 where total is 0."""
    z = ndtri(confidence_level)
    n = np.maximum(total, 1)
    p = np.nan_to_num(share)
    centre = p + z**2 / (2 * n)
    spread = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.where(total > 0, (centre - spread) / (1 + z**2 / n), 0.0)
