"""A classifier that has seen all true labels, to judge synthetic images by."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import JUDGE
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def judge(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
) -> Published:
    """A classifier that has seen all true labels, to judge synthetic images by."""
    return publish(JUDGE, experiment, execution, dataset=dataset)
