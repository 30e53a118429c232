"""Step 5: FedAvg on labelled and synthetic images."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import RETRAIN
from tasks.stage import Published, publish, stage_task


@stage_task
def retrain(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    classifier: Manifest,
    selection: Manifest,
    synthesis: Manifest,
) -> Published:
    """Step 5: FedAvg on labelled and synthetic images."""
    return publish(
        RETRAIN,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        classifier=classifier,
        selection=selection,
        synthesis=synthesis,
    )
