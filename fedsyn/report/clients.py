"""What each client has, what is made for it, and how well it is served."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedsyn.report.heatmaps import draw_counts
from fedsyn.report.theme import LIGHT, Theme, dress, label_clients, legend, new_figure, per_cent


def synthesis_plan(
    plan: pd.DataFrame, class_names: Sequence[str], theme: Theme = LIGHT, own: str = "labelled"
) -> Figure:
    """Left: images of each client, real and synthetic, against its target. Right: synthetic images by class.

    `plan`: the synthesis stage's table, one row for each client and class; `own`: what its `have` counts, in a word.
    """
    totals = plan.groupby("client_id")[["have", "target", "to_generate", "kept"]].sum()
    num_clients = len(totals)
    have, kept, dropped = totals["have"], totals["kept"], totals["to_generate"] - totals["kept"]
    figure = new_figure(theme, height=float(np.clip(0.3 * num_clients + 1.5, 2.8, 7.5)))
    left, right = figure.subplots(1, 2)

    dress(left, theme, "Training images of each client", grid="x")
    y, thickness = np.arange(num_clients), 0.62 if num_clients <= 40 else 1.0
    left.barh(y, have, thickness, color=theme.before, label=own)
    left.barh(y, kept, thickness, left=have, color=theme.synthetic, label="synthetic")
    if dropped.any():
        left.barh(
            y,
            dropped,
            thickness,
            left=have + kept,
            facecolor="none",
            edgecolor=theme.synthetic,
            hatch="////",
            linewidth=0.6,
            label="dropped by the filter",
        )
    left.vlines(totals["target"], y - 0.42, y + 0.42, color=theme.ink, linewidth=1.6, label="target")
    left.set_ylim(num_clients - 0.4, -0.6)
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    label_clients(left, num_clients)
    left.set_xlabel("images")
    legend(left, theme)

    grid = plan.pivot(index="client_id", columns="class_id", values="kept").to_numpy(np.int64)
    draw_counts(right, grid, class_names, theme, f"Synthetic: {grid.sum():,} images")
    right.set_ylabel("")
    return figure


def client_accuracy_change(before: np.ndarray, after: np.ndarray, theme: Theme = LIGHT) -> Figure:
    """Accuracy (K,) of both classifiers under each client's own label mixture; NaN: it has no labels."""
    num_clients = len(before)
    figure = new_figure(theme, height=float(np.clip(0.27 * num_clients + 1.3, 2.4, 11)))
    axes = figure.subplots()
    dress(axes, theme, grid="x")
    y, size = np.arange(num_clients), 8 if num_clients <= 40 else 4.5
    axes.hlines(y, before, after, color=theme.grid, linewidth=3 if num_clients <= 40 else 1.8, zorder=1)
    axes.plot(before, y, "o", color=theme.before, markersize=size, label="labels only", clip_on=False)
    axes.plot(after, y, "o", color=theme.after, markersize=size, label="retrained", clip_on=False)
    unknown = np.flatnonzero(np.isnan(before) | np.isnan(after))
    for position in unknown.tolist() if num_clients <= 40 else ():
        text = "no labels: no mixture to measure by"
        axes.text(0.01, position, text, va="center", color=theme.muted, fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(num_clients - 0.4, -0.6)
    axes.xaxis.set_major_formatter(per_cent())
    label_clients(axes, num_clients)
    axes.set_xlabel("accuracy under the client's own class mixture")
    legend(axes, theme)
    return figure
