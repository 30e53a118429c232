"""The course of a training that is still going on."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedsyn.report.theme import LIGHT, Theme, dress, new_figure, per_cent


def course_so_far(course: Sequence[Mapping[str, float]], total: int, theme: Theme = LIGHT) -> Figure:
    """One panel for each quantity of `course` (one mapping a round), over all `total` rounds; gaps where a round did
    not measure it."""
    names = dict.fromkeys(name for entry in course for name in entry if name not in ("round", "clients"))
    rounds = np.array([entry["round"] for entry in course])
    figure = new_figure(theme, height=2.8)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        dress(axes, theme, name.replace("_", " "), grid="y")
        values = np.array([entry.get(name, np.nan) for entry in course])
        known = np.isfinite(values)
        axes.plot(rounds[known], values[known], color=theme.after, linewidth=2)
        axes.plot(rounds[known][-1:], values[known][-1:], "o", color=theme.after, markersize=6, clip_on=False)
        axes.set_xlim(0, total)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set_xlabel("communication round")
        if "accuracy" in name:
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(per_cent())
    return figure
