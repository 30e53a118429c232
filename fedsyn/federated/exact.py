"""Sums that come out the same in any order and in any grouping, to the last bit.

Floating-point addition is not associative: a mean over clients depends on who answers first, and on which worker
added up whom. Here every term is first rounded to a multiple of one fixed step, 2^-38, and added in float64. All sums
are then multiples of that step far below 2^53 of them, so every addition is exact. Engines that split a round over
processes or machines, lose one and repeat its clients, so return the bits of a plain loop. The step is far finer than
what float32 resolves in a weight.
"""

import torch
from torch import Tensor

STEP = 2.0**-38
_ROUNDER = 1.5 * 2**52 * STEP
"""Adding and subtracting it rounds a float64 below 2^13 to a multiple of STEP: its own last digit is STEP."""

LIMIT = 2.0**12
"""A client that moves a weight further than this in one round has diverged, and is treated as not finite."""


class ExactSum:
    """sum_k w_k x_k of float32 vectors (size,), with |x_k| < LIMIT and sum_k |w_k| of about 1."""

    def __init__(self, total: Tensor) -> None:
        self.total = total  # (size,) float64, multiples of STEP
        self._scratch = torch.empty_like(total)

    @staticmethod
    def zeros(size: int, device: torch.device | str = "cpu") -> "ExactSum":
        """An empty sum."""
        return ExactSum(torch.zeros(size, dtype=torch.float64, device=device))

    def add(self, vector: Tensor, weight: float) -> None:
        """Add `weight` * `vector` (size,)."""
        term = self._scratch.copy_(vector).mul_(weight)
        self.total.add_(term.add_(_ROUNDER).sub_(_ROUNDER))

    def merge(self, total: Tensor) -> None:
        """Add another sum's total."""
        self.total.add_(total)
