"""What a client minimises, as every engine takes it: random numbers apart from mathematics."""

from typing import Any, Protocol

import numpy as np
from torch import Tensor


class Objective(Protocol):
    """A loss over samples. Kept in two parts, so that one definition serves a plain loop, a stacked one and a worker.

    Implementations are small frozen dataclasses: they travel to other processes.
    """

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Every random number that a batch of `count` samples needs: arrays whose first axis is the batch."""
        ...

    def losses(self, model: Any, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each sample (B,), from rows of the clients' tensors and `draw`'s numbers. No randomness."""
        ...
