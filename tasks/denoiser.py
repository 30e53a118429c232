"""Step 3c: FedAvg of the class-conditional denoiser."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import DENOISER
from tasks.stage import Published, publish, stage_task


@stage_task
def denoiser(
    experiment: Experiment,
    execution: Execution,
    partition: Manifest,
    selection: Manifest,
    latents: Manifest,
) -> Published:
    """Step 3c: FedAvg of the class-conditional denoiser."""
    return publish(DENOISER, experiment, execution, partition=partition, selection=selection, latents=latents)
