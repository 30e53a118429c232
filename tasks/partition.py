"""Step 0: spread labelled and unlabelled images over the clients."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import PARTITION
from tasks.stage import Published, publish, stage_task


@stage_task
def partition(experiment: Experiment, execution: Execution, dataset: Manifest) -> Published:
    """Step 0: spread labelled and unlabelled images over the clients."""
    return publish(PARTITION, experiment, execution, dataset=dataset)
