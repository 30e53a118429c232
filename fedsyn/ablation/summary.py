"""What the arms of a study have measured: one row a measurement, and means with intervals over the seeds."""

import json
from collections.abc import Mapping, Sequence
from math import inf, nan

import pandas as pd

from fedsyn.ablation.schemas import ARMS, FAILURES, RUNS, SUMMARY
from fedsyn.ablation.study import Run, Study
from fedsyn.artifacts import Manifest
from fedsyn.report.seeds import mean_and_interval

Reports = Mapping[tuple[str, int], Manifest]
"""The report's manifest of each run that came to its end, by arm and seed."""

Failures = Mapping[tuple[str, int], str]
"""Why each other run did not."""


def measurements(runs: Sequence[Run], reports: Reports) -> pd.DataFrame:
    """Columns of `schemas.RUNS`: one row for each measurement of each report, in the order of the runs."""
    rows = [
        (run.arm, run.seed, metric, value, report.key)
        for run in runs
        if (report := reports.get((run.arm, run.seed))) is not None
        for metric, value in report.metrics.items()
    ]
    return pd.DataFrame(rows, columns=RUNS.names)


def arm_fields(study: Study) -> pd.DataFrame:
    """Columns of `schemas.ARMS`: the fields that make each arm; none for one that is the preset as it stands."""
    rows = [
        (arm, field, json.dumps(value, sort_keys=True))
        for arm, fields in study.changes()
        for field, value in fields.items()
    ]
    return pd.DataFrame(rows, columns=ARMS.names)


def failed_runs(runs: Sequence[Run], failures: Failures) -> pd.DataFrame:
    """Columns of `schemas.FAILURES`, in the order of the runs."""
    rows = [(run.arm, run.seed, failures[run.arm, run.seed]) for run in runs if (run.arm, run.seed) in failures]
    return pd.DataFrame(rows, columns=FAILURES.names)


def summarize(arms: Sequence[str], measured: pd.DataFrame) -> pd.DataFrame:
    """Columns of `schemas.SUMMARY`: a row for each arm and metric, also where an arm has no value.

    `measured`: columns of `schemas.RUNS`. Differences are paired: a seed draws the same partition in both arms, unless
    they differ in it, so what a seed does to all arms alike is no part of them.
    """
    table = measured.pivot(index="seed", columns=["metric", "arm"], values="value")
    nothing = pd.Series(nan, index=table.index)
    rows = []
    for arm in arms:
        for metric in measured["metric"].unique():
            own, first = (table.get((metric, name), nothing) for name in (arm, arms[0]))
            apart = own - first if arm != arms[0] else nothing
            rows.append((arm, metric, own.count(), *_interval(own), apart.count(), *_interval(apart)))
    return pd.DataFrame(rows, columns=SUMMARY.names)


def _interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean and bounds of its 95 % interval; NaN where there are too few values for them."""
    if values.count() == 0:
        return nan, nan, nan
    mean, half = mean_and_interval(values.dropna().tolist())
    return (mean, mean - half, mean + half) if half < inf else (mean, nan, nan)
