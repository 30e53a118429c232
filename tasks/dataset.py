"""Read a data set once, into plain tensors."""

from fedsyn.config import Execution, Experiment
from fedsyn.graph import DATASET
from tasks.stage import Published, publish, stage_task


@stage_task
def dataset(experiment: Experiment, execution: Execution) -> Published:
    """Read a data set once, into plain tensors."""
    return publish(DATASET, experiment, execution)
