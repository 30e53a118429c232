"""What a stage is given beside its inputs and settings: where to compute, what an
earlier attempt has kept, and a way to say how far it is.

Progress travels as ordinary log records (`record.progress` holds a `Progress`), so a terminal can draw bars, Prefect
can forward lines to its UI, and a test can listen, without the science knowing any of them.
"""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedsyn.artifacts import Checkpoints
from fedsyn.config import Execution

if TYPE_CHECKING:
    import torch

    from fedsyn.federated.state import TrainingState

logger = logging.getLogger("fedsyn.progress")


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units (rounds, batches or images) of a stage, and the measurements at this point."""

    stage: str
    done: int
    total: int
    unit: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """The run-time surroundings of one stage."""

    stage: str
    device: "torch.device"
    checkpoints: Checkpoints
    execution: Execution = Execution(engine="sequential")  # noqa: RUF009 (frozen)

    def progress(self, done: int, total: int, unit: str, **metrics: float) -> None:
        """Tell whoever listens how far the stage is."""
        shown = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        event = Progress(self.stage, done, total, unit, metrics)
        logger.info("%s: %s %d of %d%s", self.stage, unit, done, total, shown, extra={"progress": event})

    def after_round(self, state: "TrainingState", rounds: int) -> None:
        """Tell whoever listens that a round of training is done, and what it measured."""
        shown = {name: value for name, value in state.history[-1].items() if name not in ("round", "clients")}
        self.progress(state.rounds_done, rounds, "rounds", **shown)
