"""Step 3b: encode every training image once."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import LATENTS
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def latents(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    autoencoder: Manifest,
) -> Published:
    """Step 3b: encode every training image once."""
    return publish(
        LATENTS,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        autoencoder=autoencoder,
    )
