"""FedAvg on labels and selected pseudo-labels, without synthetic images."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import SELF_TRAINING
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def self_training(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    classifier: Manifest,
    selection: Manifest,
) -> Published:
    """FedAvg on labels and selected pseudo-labels, without synthetic images."""
    return publish(
        SELF_TRAINING,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        classifier=classifier,
        selection=selection,
    )
