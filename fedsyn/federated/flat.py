"""A model as the vector that the paper writes: theta in R^P.

All parameters become views into one tensor. Sending the weights down is one copy, an update is one subtraction, and
every server algorithm is a line of vector arithmetic; the network notices nothing.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the vector, and how its axes lie in memory (channels-last, say)."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(parameters: Sequence[tuple[str, Tensor]]) -> "Layout":
        """The layout of named tensors, as they lie in memory."""
        names, tensors = zip(*parameters, strict=True)
        return Layout(names, tuple(tuple(t.shape) for t in tensors), tuple(t.stride() for t in tensors))

    @property
    def sizes(self) -> list[int]:
        """The number of elements of each parameter."""
        return [int(np.prod(shape)) for shape in self.shapes]

    @property
    def axes(self) -> list[list[int]]:
        """The axes of each parameter, outermost in memory first."""
        return [sorted(range(len(strides)), key=lambda axis: -strides[axis]) for strides in self.strides]

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors in their shapes -> one new vector (P,)."""
        return torch.cat([t.permute(axes).reshape(-1) for t, axes in zip(tensors, self.axes, strict=True)])

    def bind(self, vector: Tensor) -> list[Tensor]:
        """A vector (P,) -> views into it with the very strides of the parameters, on which kernels are chosen."""
        parts = zip(self.shapes, self.strides, vector.split(self.sizes), strict=True)
        return [part.as_strided(shape, strides, part.storage_offset()) for shape, strides, part in parts]

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector (P,) -> views by name, in operations that `vmap` and `grad` see through."""
        views = {}
        parts = zip(self.names, self.shapes, self.axes, vector.split(self.sizes), strict=True)
        for name, shape, axes, part in parts:
            inverse = sorted(range(len(axes)), key=axes.__getitem__)
            views[name] = part.view([shape[axis] for axis in axes]).permute(inverse)
        return views


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers through which samples of a batch see each other."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


class FlatModel:
    """A model bound to its vector: `weights` (P,) are its parameters, `statistics` (Q,) BatchNorm's running ones."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters: list[Any] = list(model.parameters())
        self.layout = Layout.of([(name, p.detach()) for name, p in model.named_parameters()])
        self.weights = self.layout.flatten([p.detach() for p in self.parameters])
        for parameter, view in zip(self.parameters, self.layout.bind(self.weights), strict=True):
            parameter.data = view

        self._norms = batch_norms(model)
        running = [s for norm in self._norms for s in (norm.running_mean, norm.running_var) if s is not None]
        self.statistics = torch.cat([torch.zeros(0, device=self.weights.device), *running])
        views = iter(self.statistics.split([len(s) for s in running]) if running else ())
        for norm in self._norms:
            if norm.running_mean is not None:
                norm.running_mean, norm.running_var = next(views), next(views)

    def proper(self, statistics: Tensor) -> Tensor:
        """`statistics` (Q,) without the variances just below zero that rounding can leave."""
        floors = [value for norm in self._norms for value in (-math.inf, 0.0) for _ in range(norm.num_features)]
        return statistics.clamp(min=statistics.new_tensor(floors)) if len(statistics) else statistics

    def release(self) -> None:
        """Give every parameter and statistic memory of its own again, as other code expects."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
        for norm in self._norms:
            if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
                norm.running_mean, norm.running_var = norm.running_mean.clone(), norm.running_var.clone()
                norm.num_batches_tracked = torch.zeros_like(norm.num_batches_tracked)  # whose batches, none can say


@contextmanager
def flattened(model: nn.Module) -> Iterator[FlatModel]:
    """`model` bound to its vector, until the end of the block."""
    flat = FlatModel(model)
    try:
        yield flat
    finally:
        flat.release()
