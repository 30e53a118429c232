"""Step 5: FedAvg on labelled and synthetic images."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import RETRAIN
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
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
