"""The picture of an ablation: accuracy of every arm, a dot a seed, and what it is apart from the first arm."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedsyn.report.theme import LIGHT, Theme, dress, legend, new_figure, plain, shown_ticks

MOST_JOINED = 20
"""Arms up to which a line joins the dots of a seed."""

MOST_NAMED = 40
"""Arms up to which every one has its name beside it."""


def accuracy_by_arm(measured: pd.DataFrame, summary: pd.DataFrame, arms: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Left: test accuracy of each arm, retrained and on labels only, a dot a seed. Right: minus the first arm's.

    `measured`, `summary`: columns of `schemas.RUNS` and `schemas.SUMMARY`. Bands are 95 % intervals; one that is wider
    than the axes runs out of them. A line joins the dots of a seed, since arms are compared seed by seed.
    """
    figure = new_figure(theme, height=float(np.clip(0.55 * len(arms) + 1.6, 2.6, 14)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
    dress(left, theme, "Test accuracy", grid="x")
    dress(right, theme, "Against the first arm", grid="x")
    y = np.arange(len(arms))

    before, after = (_by_seed(measured, metric, arms) for metric in ("labels_only_accuracy", "retrained_accuracy"))
    means = summary[summary["metric"] == "retrained_accuracy"].set_index("arm").reindex(arms)
    if len(arms) <= MOST_JOINED:
        left.plot(after, y - 0.1, color=theme.grid, linewidth=1, zorder=2)
    _band(left, y - 0.1, means["lower"], means["upper"], theme.after, "95 % interval")
    _marks(left, y - 0.1, after, theme.after, 5.5, "retrained, a dot a seed", "mean")
    _marks(left, y + 0.2, before, theme.before, 3.5, "labels only")
    left.set_xlim(_limits(np.concatenate([before, after]), 0, 1))
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))  # 77.5 is not 78
    left.xaxis.set_major_locator(MaxNLocator(nbins=6, min_n_ticks=3))

    apart = after - after[:1]
    right.axvline(0, color=theme.muted, linewidth=1)
    _band(right, y[1:] - 0.1, means["difference_lower"][1:], means["difference_upper"][1:], theme.after)
    _marks(right, y[1:] - 0.1, apart[1:], theme.after, 5.5)
    right.set_xlim(_limits(np.append(apart, 0), -1, 1))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.4g}"))
    right.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=3))
    right.set_xlabel("percentage points")
    right.set_visible(len(arms) > 1)

    ticks = range(len(arms)) if len(arms) <= MOST_NAMED else shown_ticks(len(arms))
    left.set_yticks(ticks, [fill(arms[tick], 34, max_lines=2, placeholder=" …") for tick in ticks])
    plain(left.get_yticklabels())
    left.set_ylim(len(arms) - 0.45, -0.55)
    legend(left, theme)
    return figure


def _by_seed(measured: pd.DataFrame, metric: str, arms: Sequence[str]) -> np.ndarray:
    """The values of a metric, (arms, seeds); NaN where there is none."""
    values = measured[measured["metric"] == metric]
    return values.pivot(index="arm", columns="seed", values="value").reindex(arms).to_numpy(float)


def _band(axes: Axes, y: np.ndarray, lower: pd.Series, upper: pd.Series, color: str, label: str = "") -> None:
    label = label if lower.notna().any() else ""  # one seed has no interval
    axes.hlines(y, lower, upper, color=color, alpha=0.2, linewidth=9, zorder=1, label=label)


def _marks(
    axes: Axes, y: np.ndarray, values: np.ndarray, color: str, size: float, name: str = "", mean: str = ""
) -> None:
    """A dot for each value of a row of `values` (rows, seeds), and a bar at their mean."""
    rows, _ = known = np.nonzero(np.isfinite(values))
    axes.plot(values[known], y[rows], "o", color=color, markersize=size, zorder=3, label=name)
    means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in values])
    reach = 0.03 * size
    axes.vlines(means, y - reach, y + reach, color=color, linewidth=2, zorder=4, label=mean)


def _limits(values: np.ndarray, least: float, most: float) -> tuple[float, float]:
    """Room for the values, and around them for their intervals."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return least, most
    room = 0.6 * np.ptp(known) + 0.01
    return max(least, known.min() - room), min(most, known.max() + room)
