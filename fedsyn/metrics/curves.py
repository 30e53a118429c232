"""Predictions seen through a grid of confidences: how often they are right, and how many there are."""

import numpy as np


def reliability(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the predictions whose confidence lies from one t of the grid to the next: the share that is right (NaN where
    there is none), and their part of all; (T,) each.

    `matrices`: M^t, (T, C, C), over predictions of confidence >= t.
    """
    total = matrices.sum(axis=(1, 2)).astype(np.float64)
    right = np.trace(matrices, axis1=1, axis2=2).astype(np.float64)
    total, right = (-np.diff(values, append=0.0) for values in (total, right))
    some = total > 1e-9 * max(total.sum(), 1e-300)  # differences of weighted sums leave crumbs
    accuracy = np.divide(right, total, out=np.full(len(total), np.nan), where=some)
    return accuracy, np.divide(total, total.sum(), out=np.zeros(len(total)), where=total.sum() > 0)


def coverage(predicted: np.ndarray) -> np.ndarray:
    """Share of each class's predictions whose confidence is at least t, (T, C); NaN where there is none.

    `predicted`: their number, (T, C).
    """
    return np.divide(predicted, predicted[0], out=np.full(predicted.shape, np.nan), where=predicted[0] > 0)
