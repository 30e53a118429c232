"""Accuracy on the test set: overall, class by class, and as each client would meet it."""

import numpy as np


def confusion_matrix(true_label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C) int64; rows are true classes, columns predicted ones."""
    cells = true_label.astype(np.int64) * num_classes + prediction.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(confusion: np.ndarray) -> float:
    """Share of all samples on the diagonal; NaN where there is no sample."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of each true class that is recognised, (C,); NaN where the test set has none of it."""
    members = confusion.sum(axis=1)
    return np.divide(np.diag(confusion), members, out=np.full(len(members), np.nan), where=members > 0)


def client_accuracy(class_counts: np.ndarray, per_class: np.ndarray) -> np.ndarray:
    """Accuracy (K,) of the global model under each client's own class mixture.

    `class_counts`: each client's labelled samples by class, (K, C); `per_class`: accuracy by class, (C,).
    A client without labels has no mixture, and so NaN; so has one that holds a class that was never tested.
    """
    totals = class_counts.sum(axis=1, keepdims=True)  # (K, 1)
    mixture = np.divide(class_counts, totals, out=np.zeros(class_counts.shape), where=totals > 0)
    # a class without weight must not count, even where its accuracy is unknown: 0 * NaN would be NaN
    weighted = np.where(class_counts > 0, mixture * per_class, 0.0)
    return np.where(totals[:, 0] > 0, weighted.sum(axis=1), np.nan)


def paired_gain(true_label: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """Two classifiers on the same N test samples: (fixed, broken, half-width of the gain's 95 % interval).

    `fixed` samples are right only after, `broken` ones only before; gain = (fixed - broken) / N. The
    half-width is the normal one of the paired difference: it covers the finite test set, not the seeds.
    """
    if not len(true_label):
        return 0, 0, float("nan")
    difference = (after == true_label).astype(np.int64) - (before == true_label).astype(np.int64)
    half_width = 1.96 * float(difference.std()) / float(np.sqrt(len(difference)))
    return int((difference > 0).sum()), int((difference < 0).sum()), half_width
