"""Step 2a: predict the unlabelled images, count confusion matrices."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import PSEUDO_LABELS
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def pseudo_labels(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    classifier: Manifest,
) -> Published:
    """Step 2a: predict the unlabelled images, count confusion matrices."""
    return publish(
        PSEUDO_LABELS,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        classifier=classifier,
    )
