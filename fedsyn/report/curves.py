"""Courses over the rounds: accuracy of the two classifiers, loss of the generative models."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fedsyn.report.theme import LIGHT, Theme, dress, new_figure, per_cent


def accuracy_by_round(before: pd.DataFrame, after: pd.DataFrame, theme: Theme = LIGHT) -> Figure:
    """Test accuracy of both trainings over their rounds; rounds that were not measured (null) are skipped."""
    figure = new_figure(theme, height=3.6)
    axes = figure.subplots()
    dress(axes, theme, grid="y")
    ends = []
    for history, name, color in ((before, "labels only", theme.before), (after, "retrained", theme.after)):
        measured = history.dropna(subset=["test_accuracy"])
        if measured.empty:
            continue
        rounds, values = measured["round"].to_numpy(), measured["test_accuracy"].to_numpy()
        dots = 3 if len(rounds) < 60 else 0
        axes.plot(rounds, values, color=color, linewidth=2, marker="o", markersize=dots)
        axes.plot(rounds[-1], values[-1], "o", color=color, markersize=7, clip_on=False)
        ends.append((values[-1], rounds[-1], f"{name} {100 * values[-1]:.1f} %", color))
    _label_ends(axes, sorted(ends))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(per_cent())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.set_xlabel("communication round")
    axes.set_ylabel("test accuracy")
    return figure


def training_losses(histories: Mapping[str, pd.DataFrame], theme: Theme = LIGHT) -> Figure:
    """Mean training loss of each named model over its rounds, one panel each; logarithmic if it falls far."""
    figure = new_figure(theme, height=2.8)
    panels = figure.subplots(1, len(histories), squeeze=False)[0]
    for axes, (name, history) in zip(panels, histories.items(), strict=True):
        dress(axes, theme, name, grid="y")
        rounds, losses = history["round"].to_numpy(), history["train_loss"].to_numpy()
        axes.plot(rounds, losses, color=theme.after, linewidth=2)
        axes.plot(rounds[-1:], losses[-1:], "o", color=theme.after, markersize=5)
        known = losses[np.isfinite(losses)]  # a round that nobody answered has none
        if len(known) and known.min() > 0 and known.max() > 3 * known.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("communication round")
    panels[0].set_ylabel("training loss")
    return figure


def _label_ends(axes: Axes, ends: Sequence[tuple[float, int, str, str]]) -> None:
    """Write each curve's name at its end; `ends` ascend, and two that are close are pushed apart."""
    close = len(ends) == 2 and ends[1][0] - ends[0][0] < 0.06
    shifts = (-7, 7) if close else (0,) * len(ends)
    for (value, last_round, text, color), shift in zip(ends, shifts, strict=True):
        axes.annotate(
            text,
            (last_round, value),
            xytext=(10, shift),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=8.5,
            fontweight="bold",
            annotation_clip=False,
        )
