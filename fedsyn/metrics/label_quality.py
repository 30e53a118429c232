"""How good a set of pseudo-labels is, class by class."""

import numpy as np
import pandas as pd


def label_quality(
    pseudo_label: np.ndarray, true_label: np.ndarray, selected: np.ndarray, num_classes: int
) -> pd.DataFrame:
    """One row a class, over the samples of the unlabelled pool.

    predicted, selected: samples predicted as c, and those of them that were kept; true_precision(_before): share of
    the kept (of all) predictions as c that are c; coverage: selected / predicted; recall(_before): share of the samples
    of class c that were kept (were predicted) with the right label. NaN where a denominator is zero.
    """
    rows = []
    for class_id in range(num_classes):
        predicted = pseudo_label == class_id
        kept, correct, members = (
            predicted & selected,
            predicted & (true_label == class_id),
            true_label == class_id,
        )
        rows.append(
            {
                "class_id": class_id,
                "predicted": predicted.sum(),
                "selected": kept.sum(),
                "true_precision_before": share(correct.sum(), predicted.sum()),
                "true_precision": share((kept & correct).sum(), kept.sum()),
                "coverage": share(kept.sum(), predicted.sum()),
                "recall_before": share(correct.sum(), members.sum()),
                "recall": share((kept & correct).sum(), members.sum()),
            }
        )
    return pd.DataFrame(rows)


def estimate_quality(precision: pd.DataFrame) -> dict[str, float]:
    """How far the precision that calibration promised is from the true one, over the classes that keep something.

    `precision`: one row a class, with estimated_precision, lower_bound and true_precision. precision_error: mean
    |estimated - true|; bounds_held: share of the classes whose true precision is not below its lower bound. NaN where
    no class has both numbers.
    """
    judged = precision.dropna(subset=["estimated_precision", "true_precision"])
    errors = (judged["estimated_precision"] - judged["true_precision"]).abs()
    held = judged["true_precision"] >= judged["lower_bound"]
    return {"precision_error": share(errors.sum(), len(judged)), "bounds_held": share(held.sum(), len(judged))}


def share(part: float, whole: float) -> float:
    """part / whole, NaN where whole is zero."""
    return part / whole if whole else float("nan")
