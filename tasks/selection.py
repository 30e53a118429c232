"""Step 2b: keep the pseudo-labels that are precise."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import SELECTION
from tasks.stage import Published, publish, stage_task


@stage_task
def selection(
    experiment: Experiment,
    execution: Execution,
    partition: Manifest,
    pseudo_labels: Manifest,
) -> Published:
    """Step 2b: keep the pseudo-labels that are precise."""
    return publish(SELECTION, experiment, execution, partition=partition, pseudo_labels=pseudo_labels)
