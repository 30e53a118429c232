"""Pseudo-labels class by class: how precise, by the truth and by the estimate, and how many were kept."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsyn.report.theme import LIGHT, Theme, dress, label_classes, legend, new_figure, per_cent


def pseudo_label_quality(
    precision: pd.DataFrame, class_names: Sequence[str], target: float | None, theme: Theme = LIGHT
) -> Figure:
    """Precision before and after selection beside its estimate (whisker: lower bound), and coverage.

    `precision`: the selection's table, one row a class; `target`: the precision asked for, where one was.
    """
    figure = new_figure(theme, height=5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    x = np.arange(len(precision))
    many = len(precision) > 40
    size = 3.5 if many else 7

    dress(upper, theme, "Precision of the pseudo-labels", grid="y")
    if target is not None:
        upper.axhline(target, color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), label="target", zorder=1)
    before, after = precision["true_precision_before"].to_numpy(), precision["true_precision"].to_numpy()
    upper.vlines(x, before, after, color=theme.grid, linewidth=2.5, zorder=1)
    upper.plot(x, before, "o", color=theme.before, markersize=size, label="true, before selection")
    upper.plot(x, after, "o", color=theme.after, markersize=size, label="true, after selection")
    estimate, bound = precision["estimated_precision"].to_numpy(), precision["lower_bound"].to_numpy()
    beside = x + 0.24
    upper.vlines(beside, bound, estimate, color=theme.synthetic, linewidth=1 if many else 1.6, zorder=2)
    upper.plot(
        beside,
        estimate,
        "D",
        color=theme.synthetic,
        markersize=size * 0.7,
        label="estimated, down to its lower bound",
    )

    dress(lower, theme, "Coverage: share of the pseudo-labels that was kept", grid="y")
    coverage = np.nan_to_num(precision["coverage"].to_numpy(np.float64))
    lower.bar(x, coverage, width=0.62, color=theme.after)
    if not many:
        for position, (share, kept) in enumerate(zip(coverage, precision["selected"], strict=True)):
            lower.text(position, share + 0.04, f"{kept:,}", ha="center", color=theme.muted, fontsize=7)
    for axes, top in ((upper, 1.04), (lower, 1.22)):
        axes.set_ylim(0 if axes is lower else -0.03, top)
        axes.set_yticks(np.linspace(0, 1, 6 if axes is upper else 3))
        axes.yaxis.set_major_formatter(per_cent())
    label_classes(lower, class_names)
    lower.set_xlim(-0.6, len(precision) - 0.4)
    lower.set_xlabel("predicted class; numbers: pseudo-labels kept" if not many else "predicted class")
    legend(upper, theme)
    return figure
