"""Step 4: each client synthesises the classes that it lacks."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import SYNTHESIS
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def synthesis(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    classifier: Manifest,
    selection: Manifest,
    autoencoder: Manifest,
    latents: Manifest,
    denoiser: Manifest,
) -> Published:
    """Step 4: each client synthesises the classes that it lacks."""
    return publish(
        SYNTHESIS,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        classifier=classifier,
        selection=selection,
        autoencoder=autoencoder,
        latents=latents,
        denoiser=denoiser,
    )
