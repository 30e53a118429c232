"""The retrained classifier among its rivals and bounds: the same classifier, schedule and first weights, other data."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from fedsyn.report.text import percent, points
from fedsyn.report.theme import LIGHT, Theme, dress, new_figure, per_cent

RUNGS = {
    "labels_only_accuracy": "labels only",
    "self_training_accuracy": "labels and pseudo-labels,\nno synthetic images",
    "retrained_accuracy": "retrained with\nsynthetic images",
    "all_labels_accuracy": "true labels of all images,\nfederated",
    "central_accuracy": "the same labels\nin one place",
}
"""Rungs from the one to start from to the bound without heterogeneity, by their name in the headline."""


def ladder(numbers: Mapping[str, float], theme: Theme = LIGHT) -> Figure:
    """Test accuracy of every rung that was trained, and its distance from labels only. `numbers`: the headline's."""
    known = {name: numbers[name] for name in RUNGS if np.isfinite(numbers.get(name, np.nan))}
    names, values = list(known), np.array(list(known.values()))
    figure = new_figure(theme, height=0.5 * len(known) + 0.9)
    axes = figure.subplots()
    dress(axes, theme, grid="x")
    y, first = np.arange(len(known)), numbers["labels_only_accuracy"]
    axes.axvline(first, color=theme.before, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.hlines(y, first, values, color=theme.grid, linewidth=3, zorder=1)
    for position, name, value in zip(y, names, values, strict=True):
        color = {"labels_only_accuracy": theme.before, "retrained_accuracy": theme.after}.get(name, theme.muted)
        axes.plot(value, position, "o", color=color, markersize=8, clip_on=False)
        text = percent(value) if name == "labels_only_accuracy" else f"{percent(value)}  ({points(value - first)})"
        axes.annotate(
            text,
            (max(value, first), position),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=color if name == "retrained_accuracy" else theme.ink,
            fontsize=8.5,
            fontweight="bold" if name == "retrained_accuracy" else "normal",
            annotation_clip=False,
        )
    low, high = values.min(), values.max()
    room = max(high - low, 0.02)
    axes.set_xlim(max(0, low - 0.15 * room), high + 0.35 * room)
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.set_yticks(y, [RUNGS[name] for name in names])
    axes.xaxis.set_major_formatter(per_cent())
    axes.set_xlabel("test accuracy of the last round")
    return figure
