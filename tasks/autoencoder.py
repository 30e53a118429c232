"""Step 3a: FedAvg of the autoencoder over all images."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import AUTOENCODER
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def autoencoder(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
) -> Published:
    """Step 3a: FedAvg of the autoencoder over all images."""
    return publish(AUTOENCODER, experiment, execution, dataset=dataset, partition=partition)
