"""An ablation's result as a table to read: a row an arm, accuracies in per cent, differences in points."""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from fedsyn.report.text import DASH

INTERVALS = "Mean over the seeds ± half the width of its 95 % Student-t interval; differences are paired by seed."


def header(summary: pd.DataFrame) -> list[str]:
    """The names of the columns. `summary`: columns of `schemas.SUMMARY`."""
    first = summary["arm"].iloc[0] if len(summary) else "the first arm"
    return ["arm", "seeds", "labels only, %", "retrained, %", "gain, points", f"retrained against {first}, points"]


def rows(summary: pd.DataFrame) -> list[list[str]]:
    """The cells under `header`, a row for each arm."""
    cells = []
    for arm, measured in summary.groupby("arm", sort=False):
        of = measured.set_index("metric").loc
        shown = [of["labels_only_accuracy"], of["retrained_accuracy"], of["gain"]]
        means = [_hundredths(row["mean"], row["lower"], row["upper"]) for row in shown]
        row = of["retrained_accuracy"]
        apart = _hundredths(row["difference"], row["difference_lower"], row["difference_upper"], sign="+")
        cells.append([str(arm), str(row["n"]), *means, apart])
    return cells


def failed(failures: pd.DataFrame) -> list[str]:
    """`arm, seed 1: message`, a line for each row of `schemas.FAILURES`."""
    return [f"{row.arm}, seed {row.seed}: {' '.join(row.message.split())}" for row in failures.itertuples()]


def markdown(study: str, summary: pd.DataFrame, failures: pd.DataFrame) -> str:
    """The table as a page of Markdown, and below it the runs that failed."""
    titles = header(summary)
    lines = [f"# {study}", "", _line(titles), _line(["---"] * len(titles)), *map(_line, rows(summary)), "", INTERVALS]
    if len(failures):
        lines += ["", "Failed:", "", *(f"- {failure}" for failure in failed(failures))]
    return "\n".join([*lines, ""])


def _hundredths(mean: float, lower: float, upper: float, sign: str = "") -> str:
    """`85.70 ± 10.36` of fractions; without the half width where there is no interval."""
    if isnan(mean):
        return DASH
    text = f"{100 * mean:{sign}.2f}"
    return text if isnan(lower) else f"{text} ± {50 * (upper - lower):.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
