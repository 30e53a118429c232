"""What the labels would give in one place, and all true labels by FedAvg."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import BOUNDS
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def bounds(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
) -> Published:
    """What the labels would give in one place, and all true labels by FedAvg."""
    return publish(BOUNDS, experiment, execution, dataset=dataset, partition=partition)
