"""The picture says the numbers that it draws."""

import numpy as np
import pandas as pd
import pytest

from fedsyn.ablation.figure import accuracy_by_arm
from fedsyn.ablation.summary import summarize

ARMS = ["first", "second"]


def figure(*seeds: int):
    rows = [
        (arm, seed, metric, value + 0.01 * seed, "key")
        for seed in seeds
        for arm, value in (("first", 0.81), ("second", 0.76))
        for metric in ("retrained_accuracy", "labels_only_accuracy")
    ]
    measured = pd.DataFrame(rows, columns=["arm", "seed", "metric", "value", "report"])
    return accuracy_by_arm(measured, summarize(ARMS, measured), ARMS)


def test_what_is_written_at_a_tick_is_where_the_tick_is():
    for axes in figure(0).axes:
        ticks = axes.get_xticks()
        shown = [axes.xaxis.get_major_formatter()(tick).rstrip(" %") for tick in ticks]
        assert np.array([float(text) for text in shown]) == pytest.approx(100 * ticks, abs=1e-9)


@pytest.mark.parametrize(("seeds", "there"), [((0,), False), ((0, 1, 2), True)])
def test_an_interval_is_explained_only_where_there_is_one(seeds, there):
    drawn = figure(*seeds)
    (legend,) = drawn.legends
    assert ("95 % interval" in [text.get_text() for text in legend.get_texts()]) is there
