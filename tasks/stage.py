"""What all stage tasks share: the store decides whether a stage runs, Prefect shows it."""

from functools import partial
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.states import Completed, State

from fedsyn.artifacts import Manifest, StoreUnavailable
from fedsyn.config import Execution, Experiment
from fedsyn.graph import Stage
from fedsyn.pipeline import run_stage
from tasks.progress import ShownProgress

Published = State[Any] | Manifest


def may_succeed_later(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a stage failed for want of something that may be there in a while: its store, or memory of a GPU that
    others use too."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StoreUnavailable) or type(error).__name__ == "OutOfMemoryError"


def run_name() -> str:
    """The stage's own name, without the letters that Prefect appends."""
    return str(task_run.task_name)


stage_task: Any = partial(
    task,
    task_run_name=run_name,
    cache_policy=NO_CACHE,
    persist_result=False,
    tags=["fedsyn"],
    retries=3,
    retry_condition_fn=may_succeed_later,
    retry_delay_seconds=[5, 20, 60],
    retry_jitter_factor=0.5,
)
"""Prefect's cache knows result records, not the files that they name; so it stays off and the store is asked.

A retry goes on from the stage's last checkpoint, as any run does."""

GPU = ["fedsyn", "gpu"]
"""Tags of the stages that a GPU carries out: a concurrency limit of `gpu` counts them."""


def publish(stage: Stage, experiment: Experiment, execution: Execution, **inputs: Manifest) -> Published:
    """Run a stage or find its artifact; on a hit the task's state is `Cached`. The result is the manifest."""
    with ShownProgress(stage.name):
        result = run_stage(stage, experiment, execution, inputs)
    manifest = result.manifest
    logger = get_run_logger()
    if result.cached:
        message = f"artifact {stage.name}/{manifest.key} of {manifest.finished:%Y-%m-%d %H:%M} UTC"
        logger.info("%s: cached, %s", stage.name, message)
        return Completed(name="Cached", message=message, data=manifest)
    measured = ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())
    logger.info("%s: published %s in %.1f s (%s)", stage.name, manifest.key, manifest.seconds, measured)
    return manifest


def manifest_of(published: Published) -> Manifest:
    """The manifest that `publish` returned, whether inside a state or not."""
    return published if isinstance(published, Manifest) else published.result()
