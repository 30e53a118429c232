"""The result of a study as one artifact of the store: tables, a page of Markdown, a picture."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from fedsyn.ablation.figure import accuracy_by_arm
from fedsyn.ablation.schemas import ARMS, FAILURES, RUNS, SUMMARY
from fedsyn.ablation.study import Run, Study
from fedsyn.ablation.summary import Failures, Reports, arm_fields, failed_runs, measurements, summarize
from fedsyn.ablation.table import markdown
from fedsyn.artifacts import Artifact, Attempt, Folder, Input, Manifest, Store
from fedsyn.artifacts.manifest import describe
from fedsyn.artifacts.work import Work
from fedsyn.pipeline import installed
from fedsyn.report.theme import png

STAGE = "ablation"
VERSION = 1


def gather(store: Store, study: Study, runs: Sequence[Run], reports: Reports, failures: Failures) -> Artifact:
    """Publish what the runs of a study have measured, or find it: the same results are the same artifact.

    Writes runs.parquet, arms.parquet, summary.parquet, failures.parquet (`fedsyn.ablation.schemas`), table.md and
    figures/accuracy.png. Its inputs are the reports, so that cleaning keeps all that they come from.

    Raises:
        ValueError: a run has neither a report nor a failure.
        StoreError: the store cannot be written, or is full.
        Interrupted: a signal asked to stop while another process was at it.
    """
    if unknown := [run for run in runs if (run.arm, run.seed) not in {*reports, *failures}]:
        raise ValueError(f"every run needs a report or a failure, got none of {unknown[0].arm}, seed {unknown[0].seed}")
    read = {
        f"report/{run.arm}/{run.seed}": Input(key=report.key, digest=report.digest)
        for run in runs
        if (report := reports.get((run.arm, run.seed))) is not None
    }
    key = _key(study, read, failures)

    def make(work: Work) -> Artifact:
        attempt = Attempt(
            started=datetime.now(UTC), device="cpu", threads=1, engine="sequential", libraries=installed()
        )
        work.begin(attempt, read)
        _write(work.draft, study, runs, reports, failures)
        finished = datetime.now(UTC)
        manifest = Manifest(
            stage=STAGE,
            version=VERSION,
            key=key,
            config={"study": study.model_dump(mode="json")},
            seed=study.seeds[0],
            inputs=read,
            fingerprint=None,
            attempts=work.attempts,
            seconds=(finished - attempt.started).total_seconds(),
            finished=finished,
            metrics={"runs": len(reports), "failed": len(failures)},
            files=describe(work.draft.root),
        )
        return store.publish(work.draft, manifest)

    return store.obtain(STAGE, key, read, make)[0]


def _key(study: Study, read: dict[str, Input], failures: Failures) -> str:
    identity = {
        "stage": STAGE,
        "version": VERSION,
        "study": study.model_dump(mode="json"),
        "arms": [arm for arm, _ in study.changes()],  # their order, which sorting hides
        "reports": {name: report.model_dump() for name, report in read.items()},
        "failures": sorted((arm, seed, message) for (arm, seed), message in failures.items()),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _write(output: Folder, study: Study, runs: Sequence[Run], reports: Reports, failures: Failures) -> None:
    arms = list(dict.fromkeys(run.arm for run in runs))
    measured, failed = measurements(runs, reports), failed_runs(runs, failures)
    summary = summarize(arms, measured)
    output.write_table("runs", measured, RUNS)
    output.write_table("arms", arm_fields(study), ARMS)
    output.write_table("summary", summary, SUMMARY)
    output.write_table("failures", failed, FAILURES)
    output.path("table.md").write_text(markdown(study.name, summary, failed), encoding="utf-8", newline="\n")
    output.path("figures/accuracy.png").write_bytes(png(accuracy_by_arm(measured, summary, arms)))
