"""What a stage is given beside its inputs and settings: where to compute, what an
earlier attempt has kept, and a way to say how far it is.

Progress travels as ordinary log records (`record.progress` holds a `Progress`), so a terminal can draw bars, Prefect
can forward lines to its UI, and a test can listen, without the science knowing any of them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    images: int = 0
    """Images that went through so far, those of an earlier attempt left out: for a rate."""
    course: Sequence[Mapping[str, float]] = ()
    """Of a training: what each round has measured, those of an earlier attempt included."""
    key: str = ""
    """Of the artifact that is being made."""


@dataclass(frozen=True)
class Context:
    """The run-time surroundings of one stage."""

    stage: str
    device: "torch.device"
    checkpoints: Checkpoints
    execution: Execution = Execution(engine="sequential")  # noqa: RUF009 (frozen)
    key: str = ""
    """Of the artifact that the stage makes."""
    rounds: tuple[int, int] | None = None
    """Of a stage of several trainings: the rounds before the one at hand, and those of all."""

    def part(self, first: int, total: int) -> "Context":
        """The surroundings of one of several trainings, which begins after `first` rounds of `total`."""
        return replace(self, checkpoints=self.checkpoints.part(first), rounds=(first, total))

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell whoever listens how far the stage is."""
        self._tell(Progress(self.stage, done, total, unit, images=done if unit == "images" else 0, key=self.key))

    def after_round(self, state: "TrainingState", rounds: int) -> None:
        """Tell whoever listens that a round of training is done, and what it measured."""
        metrics = {name: value for name, value in state.history[-1].items() if name not in ("round", "clients")}
        done, images = state.rounds_done, state.images_seen
        course: Sequence[Mapping[str, float]] = state.history
        if self.rounds is not None:
            done, rounds, course = self.rounds[0] + done, self.rounds[1], ()
        self._tell(Progress(self.stage, done, rounds, "rounds", metrics, images, course, self.key))

    def _tell(self, event: Progress) -> None:
        shown = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in event.metrics.items())
        logger.info(
            "%s: %s %d of %d%s", event.stage, event.unit, event.done, event.total, shown, extra={"progress": event}
        )
