"""Precision-driven selection: per class, the confidence from which pseudo-labels are believed.

The server sees the global confusion matrices and the clients' counts of predictions; the clients then select.
"""

from dataclasses import dataclass

import numpy as np

from fedsyn.config import Selection
from fedsyn.pseudo_labels.calibration import Calibration


@dataclass(frozen=True)
class Thresholds:
    """For each class (C,): the confidence t_c (NaN: the class keeps nothing), its precision, the lower bound of that,
    the calibration samples behind it (effective ones, where they are weighted), and whether the target was reached."""

    confidence: np.ndarray
    estimated_precision: np.ndarray
    lower_bound: np.ndarray
    calibration_samples: np.ndarray
    reached: np.ndarray


def choose_thresholds(
    calibration: Calibration, predicted: np.ndarray, grid: np.ndarray, settings: Selection
) -> Thresholds:
    """Server side: t_c = the smallest t whose precision (its Wilson bound, or its estimate) reaches the target.

    Where none does, t_c is the largest t that keeps `min_per_class` predictions and the share `min_share` of them:
    a bound that no t lifts to the target says that evidence is short, and precision grows with confidence. (Taking
    the t of the highest bound instead would reward the number of calibration samples, which is largest at t = 0.)
    Where even that is impossible the class keeps nothing.

    `predicted`: unlabelled samples predicted as c with confidence >= t, (T, C); `grid`: (T,) ascending.
    """
    estimate, bound, meets = _judged(calibration, settings)  # (T, C)
    least = np.maximum(max(1, settings.min_per_class), settings.min_share * predicted[0])  # (C,)
    affordable = predicted >= least

    reached = meets.any(axis=0)  # (C,)
    keeps_any = reached | affordable.any(axis=0)
    row = np.where(reached, meets.argmax(axis=0), len(grid) - 1 - affordable[::-1].argmax(axis=0))
    columns = np.arange(estimate.shape[1])
    return Thresholds(
        confidence=np.where(keeps_any, grid[row], np.nan),
        estimated_precision=np.where(keeps_any, estimate[row, columns], np.nan),
        lower_bound=np.where(keeps_any, bound[row, columns], np.nan),
        calibration_samples=np.where(keeps_any, calibration.samples[row, columns], calibration.samples[0]),
        reached=np.asarray(reached),
    )


def fixed_thresholds(calibration: Calibration, grid: np.ndarray, confidence: float, settings: Selection) -> Thresholds:
    """One confidence for all classes; precision is estimated at the largest t of the grid below it."""
    row = max(0, int(np.searchsorted(grid, confidence, side="right")) - 1)
    estimate, bound, meets = _judged(calibration, settings)
    thresholds = np.full(estimate.shape[1], confidence)
    return Thresholds(thresholds, estimate[row], bound[row], calibration.samples[row], meets[row])


def _judged(calibration: Calibration, settings: Selection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimated precision, its lower bound, and whether what the settings judge by reaches the target; (T, C) each."""
    estimate, bound = calibration.precision(), calibration.lower_bound(settings.confidence_level)
    judged = bound if settings.bound == "wilson" else np.nan_to_num(estimate)
    return estimate, bound, (judged >= settings.target_precision) & (calibration.samples > 0)


def most_confident_share(pseudo_label: np.ndarray, confidence: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The share P_c of each class's predictions with the highest confidence, (n,) bools; NaN shares keep nothing.

    Ties keep the order of the samples.
    """
    selected = np.zeros(len(pseudo_label), dtype=bool)
    for class_id, part in enumerate(np.nan_to_num(share)):
        members = np.flatnonzero(pseudo_label == class_id)
        order = np.argsort(-confidence[members], kind="stable")
        selected[members[order[: round(part * len(members))]]] = True
    return selected
