"""What all stage tasks share: the store decides whether a stage runs, Prefect shows it."""

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import Stage
from fedsyn.pipeline import run_stage

Published = State[Any] | Manifest

stage_task = task(cache_policy=NO_CACHE, persist_result=False, tags=["fedsyn"])
"""Prefect's cache knows result records, not the files that they name; so it stays off and the store is asked."""


def publish(stage: Stage, experiment: Experiment, execution: Execution, **inputs: Manifest) -> Published:
    """Run a stage or find its artifact; on a hit the task's state is `Cached`. The result is the manifest."""
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
