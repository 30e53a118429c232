"""Step 3c: FedAvg of the class-conditional denoiser."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import DENOISER
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def denoiser(
    experiment: Experiment,
    execution: Execution,
    partition: Manifest,
    selection: Manifest,
    latents: Manifest,
) -> Published:
    """Step 3c: FedAvg of the class-conditional denoiser."""
    return publish(DENOISER, experiment, execution, partition=partition, selection=selection, latents=latents)
