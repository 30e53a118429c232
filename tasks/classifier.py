"""Step 1: FedAvg on the labelled images."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import CLASSIFIER
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def classifier(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
) -> Published:
    """Step 1: FedAvg on the labelled images."""
    return publish(CLASSIFIER, experiment, execution, dataset=dataset, partition=partition)
