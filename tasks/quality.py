"""How good the synthetic images are, beside what real ones would score."""

from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import QUALITY
from tasks.stage import GPU, Published, publish, stage_task


@stage_task(tags=GPU)
def quality(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    selection: Manifest,
    synthesis: Manifest,
    judge: Manifest,
) -> Published:
    """How good the synthetic images are, beside what real ones would score."""
    return publish(
        QUALITY,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        selection=selection,
        synthesis=synthesis,
        judge=judge,
    )
