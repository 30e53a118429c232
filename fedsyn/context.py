"""What a stage is given beside its inputs and settings: where to compute, and a way to say how far it is.

Progress travels as ordinary log records (`record.progress` holds a `Progress`), so a terminal can draw bars, Prefect
can forward lines to its UI, and a test can listen, without the science knowing any of them.
"""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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

    def progress(self, done: int, total: int, unit: str, **metrics: float) -> None:
        """Tell whoever listens how far the stage is."""
        shown = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        event = Progress(self.stage, done, total, unit, metrics)
        logger.info("%s: %s %d of %d%s", self.stage, unit, done, total, shown, extra={"progress": event})
