"""What calibration promised, beside what was true: confidences, and precision against coverage."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedsyn.metrics.curves import coverage, reliability
from fedsyn.pseudo_labels.confusion import precision
from fedsyn.report.text import shorten
from fedsyn.report.theme import LIGHT, Theme, dress, legend, new_figure, per_cent, plain

MOST_PANELS = 20
PANELS_A_ROW = 5


def reliability_diagram(grid: np.ndarray, calibration: np.ndarray, hidden: np.ndarray, theme: Theme = LIGHT) -> Figure:
    """How often predictions of each confidence are right: by the calibration samples, and by the hidden labels.

    `grid`: confidences t (T,); `calibration`, `hidden`: M^t (T, C, C). The bars of the upper panel are where an honest
    confidence would be; a mark's area grows with the share of the predictions behind it.
    """
    figure = new_figure(theme, height=4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    x, ends = np.arange(len(grid)), np.append(grid[1:], 1.0)
    dress(upper, theme, "Accuracy of the predictions of each confidence", grid="y")
    honest = np.maximum(ends - grid, 0.006)
    upper.bar(x, honest, bottom=grid, width=0.86, color=theme.grid, label="where an honest confidence would be")
    dress(lower, theme, "Share of the predictions", grid="y")
    for matrices, name, marker, color, side in (
        (hidden, "unlabelled images, by their hidden labels", "o", theme.after, -0.17),
        (calibration, "calibration samples", "D", theme.synthetic, 0.17),
    ):
        accuracy, share = reliability(matrices)
        upper.scatter(x + side, accuracy, s=8 + 250 * share, color=color, marker=marker, label=name, zorder=2)
        lower.bar(x + side, share, width=0.3, color=color)
    upper.set_ylim(-0.03, 1.07)
    upper.set_yticks(np.linspace(0, 1, 6))
    lower.yaxis.set_major_locator(MaxNLocator(nbins=3))
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(per_cent())
    bounds = [f"{100 * start:.4g}" for start in grid]
    lower.set_xticks(x, bounds, rotation=45 if len(grid) > 10 else 0)
    lower.set_xlim(-0.7, len(grid) - 0.3)
    lower.set_xlabel("confidence of at least … %, and below the next")
    legend(upper, theme)
    return figure


def precision_by_coverage(
    calibration: np.ndarray,
    hidden: np.ndarray,
    chosen: np.ndarray,
    class_names: Sequence[str],
    target: float | None,
    theme: Theme = LIGHT,
) -> Figure:
    """For each class, precision against the share of its predictions kept, over the grid: estimated and true.

    `calibration`, `hidden`: M^t (T, C, C); `chosen`: the coverage at each class's threshold (C,), NaN for none;
    `target`: the precision asked for. Of many classes, those with the most predictions are drawn.
    """
    predicted = hidden.sum(axis=1)  # (T, C)
    classes = np.sort(np.argsort(-predicted[0], kind="stable")[:MOST_PANELS])
    rows = -(-len(classes) // PANELS_A_ROW)
    figure = new_figure(theme, height=1.75 * rows + 1.0)
    panels = figure.subplots(rows, min(PANELS_A_ROW, len(classes)), sharex=True, sharey=True, squeeze=False).ravel()
    share, true, estimated = coverage(predicted), precision(hidden)[0], precision(calibration)[0]
    for axes, class_id in zip(panels, classes.tolist(), strict=False):
        dress(axes, theme, grid="y")
        plain([axes.set_title(shorten(class_names[class_id]), loc="left", fontsize=8.5, color=theme.ink, pad=4)])
        if target is not None:
            axes.axhline(target, color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), label="target", zorder=1)
        if np.isfinite(chosen[class_id]):
            axes.axvline(chosen[class_id], color=theme.grid, linewidth=4, label="kept", zorder=0)
        for values, name, marker, color in (
            (true, "true", "o", theme.after),
            (estimated, "estimated", "D", theme.synthetic),
        ):
            style = {"color": color, "linewidth": 1.5, "marker": marker, "markersize": 2.6, "label": name}
            axes.plot(share[:, class_id], values[:, class_id], **style)
        axes.xaxis.set_major_formatter(per_cent())
        axes.yaxis.set_major_formatter(per_cent())
    for axes in panels[len(classes) :]:
        axes.set_visible(False)
    least = min(np.nanmin(values[:, classes], initial=1.0) for values in (true, estimated))
    panels[0].set_ylim(least - 0.05 * (1.1 - least), 1 + 0.05 * (1.1 - least))
    panels[0].yaxis.set_major_locator(MaxNLocator(nbins=4))
    panels[0].set_xlim(-0.05, 1.05)
    panels[0].set_xticks([0, 0.5, 1])
    panels[0].set_ylabel("precision")
    panels[(rows - 1) * PANELS_A_ROW].set_xlabel("share kept")
    legend(panels[0], theme)
    return figure
