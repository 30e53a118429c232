"""Several seeds together: means with their intervals."""

from collections.abc import Mapping
from math import isnan, nan

import numpy as np


def mean_and_interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Mean, and half the width of its Student-t interval; infinite for a single value."""
    from scipy.stats import t  # half a second that a single run does without

    count = len(values)
    if count < 2:
        return float(np.mean(values)), float("inf")
    half = t.ppf(0.5 + level / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return float(np.mean(values)), float(half)


def seed_table(reports: Mapping[int, Mapping[str, float]]) -> dict[str, str]:
    """Labelled text: labels-only and retrained accuracy of each seed, and means with 95 % intervals.

    `reports`: the report stage's metrics by seed. The gain is paired: one difference for each seed.
    """
    rows = {
        f"seed {seed}": f"{report['labels_only_accuracy']:.2%} -> {report['retrained_accuracy']:.2%}"
        for seed, report in reports.items()
    }
    for label, metric in (
        ("labels-only accuracy", "labels_only_accuracy"),
        ("retrained accuracy", "retrained_accuracy"),
        ("gain (points)", "gain"),
        ("labels and pseudo-labels, no images", "self_training_accuracy"),
        ("true labels of all images", "all_labels_accuracy"),
        ("same labels in one place", "central_accuracy"),
        ("pseudo-label precision, all", "pseudo_label_precision_before"),
        ("pseudo-label precision, selected", "pseudo_label_precision"),
        ("pseudo-label coverage", "coverage"),
        ("synthetic images, recognised by the judge", "class_agreement"),
        ("synthetic images, memorised", "memorised_share"),
    ):
        mean, half = mean_and_interval([report.get(metric, nan) for report in reports.values()])
        if not isnan(mean):  # a baseline or a judgement that was not asked for
            rows[label] = f"{100 * mean:.2f} ± {100 * half:.2f}"
    return rows
