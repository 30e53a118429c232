"""Synthetic images by a judge's eyes: class by class, and among real ones."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsyn.report.notes import LOW_DIVERSITY
from fedsyn.report.theme import LIGHT, Theme, dress, label_classes, legend, new_figure, per_cent

SHARES = ("precision", "density", "recall", "coverage")


def class_by_class(quality: pd.DataFrame, class_names: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Upper: what the judge recognises, beside real images; lower: diversity in units of that of real images.

    `quality`: the quality stage's table, one row a class; a class without images has neither.
    """
    figure = new_figure(theme, height=4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    x, many = np.arange(len(quality)), len(quality) > 40
    size = 3.5 if many else 7

    dress(upper, theme, "Recognised by the judge", grid="y")
    made, real = quality["class_agreement"].to_numpy(), quality["class_agreement_real"].to_numpy()
    upper.vlines(x, made, real, color=theme.grid, linewidth=2.5, zorder=1)
    upper.plot(x, real, "o", color=theme.before, markersize=1.5 * size, label="real test images")
    upper.plot(x, made, "o", color=theme.synthetic, markersize=size, label="synthetic images")
    upper.set_ylim(-0.03, 1.06)
    upper.set_yticks(np.linspace(0, 1, 6))

    dress(lower, theme, "Diversity, of that of real images", grid="y")
    diversity = quality["relative_diversity"].to_numpy(np.float64)
    lower.bar(x, np.nan_to_num(diversity), width=0.62, color=theme.synthetic)
    lower.axhline(1, color=theme.before, linewidth=1.4, zorder=1)
    lower.axhline(
        LOW_DIVERSITY, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), label="below: mode collapse", zorder=3
    )
    lower.set_ylim(0, max(1.2, 1.08 * np.nanmax(diversity, initial=0)))
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(per_cent())
    label_classes(lower, class_names)
    lower.set_xlim(-0.6, len(quality) - 0.4)
    lower.set_xlabel("class")
    legend(upper, theme, lower)
    return figure


def where_images_lie(scores: Mapping[str, Mapping[str, float | None]], theme: Theme = LIGHT) -> Figure:
    """Precision, density, recall and coverage of `synthetic` and of `real` images; None: too few to tell."""
    figure = new_figure(theme, height=2.5)
    axes = figure.subplots()
    dress(axes, theme, grid="x")
    y = np.arange(len(SHARES))
    made, real = (np.array([scores[kind][name] for name in SHARES], dtype=np.float64) for kind in ("synthetic", "real"))
    axes.hlines(y, made, real, color=theme.grid, linewidth=3, zorder=1)
    axes.plot(real, y, "o", color=theme.before, markersize=11, label="as many real images", clip_on=False)
    axes.plot(made, y, "o", color=theme.synthetic, markersize=8, label="synthetic images", clip_on=False)
    axes.set_xlim(-0.02, max(1.0, 1.05 * np.nanmax([made, real], initial=0)))
    axes.set_ylim(len(SHARES) - 0.5, -0.5)
    axes.set_yticks(y, SHARES)
    axes.xaxis.set_major_formatter(per_cent())
    axes.set_xlabel("share of the images; density is a mean number, in units of k, and may exceed 100 %")
    legend(axes, theme)
    return figure
