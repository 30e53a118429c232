"""Many clients at once: their models stacked, one launch for all of them (`torch.func`). For small models on a GPU.

The clients of a round are sorted by number of batches and cut into groups. A group's weights are a matrix (G, P), a
client a row. In each local step the clients that still have a batch are the first rows; batches are padded to one size,
and a mask keeps the padding out of the mean. The optimiser is the same arithmetic on a matrix.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedsyn import interruption
from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Answer, Broadcast, Client, Task, Training, Update
from fedsyn.federated.flat import FlatModel, batch_norms
from fedsyn.federated.local_training import (
    autocast,
    clip,
    finite,
    largest_change,
    local_batches,
    proximal_weight,
    to_device,
    zero_unless,
)
from fedsyn.federated.objective import Objective

Member = tuple[Client, Task]


def obstacle(flat: FlatModel, training: Training) -> str | None:
    """Why this training cannot be stacked; None where it can."""
    if batch_norms(flat.model):
        return "BatchNorm mixes the samples of a batch, and padding would count"
    if training.settings.precision == "fp16":
        return "precision 'fp16' scales losses client by client"
    attends = any(type(module).__name__ == "Attention" for module in flat.model.modules())
    if training.settings.precision == "bf16" and attends:
        return "attention under precision 'bf16' has no stacked form in PyTorch"
    return None


class VectorizedEngine:
    """Trains `clients_per_group` clients in one stacked model."""

    def __init__(self, flat: FlatModel, training: Training, clients_per_group: int) -> None:
        hindrance = obstacle(flat, training)
        if hindrance is not None:
            raise ValueError(
                f"{training.stage}: engine 'vectorized' cannot train this: {hindrance}; use engine 'sequential'"
            )
        self.flat, self.training, self.clients_per_group = flat, training, clients_per_group
        self.module = _Losses(flat.model, training.objective)
        gradients: Any = vmap(grad_and_value(self._loss))
        if training.compile:
            mode = "reduce-overhead" if flat.weights.is_cuda else "default"  # CUDA graphs
            gradients = torch.compile(gradients, mode=mode, dynamic=False)
        self.gradients = gradients

    def train_round(self, broadcast: Broadcast, cohort: Sequence[Member]) -> tuple[Answer, Tensor]:
        """Train every client of `cohort` from `broadcast`."""
        answer = Answer.empty(broadcast, len(cohort) if self.training.keeps_each else None)
        reports = broadcast.weights.new_zeros(len(cohort), 2)
        longest_first = sorted(cohort, key=lambda member: -member[1].num_batches)
        for start in range(0, len(cohort), self.clients_per_group):
            group = longest_first[start : start + self.clients_per_group]
            changes, losses = self._train_group(group, broadcast)
            for (_, task), change, loss in zip(group, changes, losses, strict=True):
                size = largest_change(change)
                update = zero_unless(finite(loss, size), change)
                privacy = self.training.settings.privacy
                update = clip(update, privacy.clip_norm) if privacy else update
                reports[task.row] = torch.stack([loss, size])
                answer.add(task, Update(update, broadcast.statistics, reports[task.row]))
        return answer, reports

    def close(self) -> None:
        """Nothing to let go of."""

    def _train_group(self, group: Sequence[Member], broadcast: Broadcast) -> tuple[Tensor, Tensor]:
        """The clients' Delta_k (G, P) and mean losses (G,)."""
        settings, weights = self.training.settings, broadcast.weights
        # A compiled step is built anew for each shape: always the same rows and batch, and a few widths.
        rows = self.clients_per_group if self.training.compile else len(group)
        theta = weights.repeat(rows, 1)  # (G, P)
        steps = torch.tensor([task.num_batches for _, task in group], device=weights.device)
        total = torch.zeros(len(group), device=weights.device)
        optimizer = _StackedOptimizer(theta, settings, broadcast.learning_rate)
        mu, corrections = proximal_weight(settings), broadcast.corrections
        if corrections is not None:
            corrections = corrections[[task.row for _, task in group]]
        for active, width, batch, draws, mask in self._steps(group, broadcast.round_index):
            interruption.check()
            with sdpa_kernel(SDPBackend.MATH):  # fused attention has no rule for stacking
                gradient, loss = self.gradients(theta[:width], batch, draws, mask)  # (width, P), (width,)
            gradient, now = gradient[:active], theta[:active]
            if mu:
                gradient = gradient + mu * (now - weights)
            if corrections is not None:
                gradient = gradient + corrections[:active]
            if settings.gradient_clip is not None:
                norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
                gradient = gradient * (settings.gradient_clip / (norm + 1e-6)).clamp(max=1.0)
            optimizer.step(gradient)
            total[:active] += loss[:active]
        return theta[: len(group)] - weights, total / steps

    def _loss(self, theta: Tensor, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """The mean loss of one client's batch under weights theta (P,)."""
        named = {f"model.{name}": value for name, value in self.flat.layout.unflatten(theta).items()}
        with autocast(theta.device, self.training.settings.precision):
            losses = functional_call(self.module, named, (batch, draws))
        return torch.where(mask, losses, 0.0).sum() / mask.sum()

    def _steps(
        self, group: Sequence[Member], round_index: int
    ) -> Iterator[tuple[int, int, tuple[Tensor, ...], tuple[Tensor, ...], Tensor]]:
        """Each local step of a group: how many clients take it, of how many rows; their samples, draws and mask."""
        tensors, device = group[0][0].tensors, self.flat.weights.device
        pool = torch.cat([client.indices for client, _ in group])  # (n,) rows of the shared tensors
        starts = np.cumsum([0] + [client.num_samples for client, _ in group])
        size = self.training.settings.batch_size
        if not self.training.compile:
            size = min(size, max(client.num_samples for client, _ in group))
        streams = [local_batches(client, task, self.training, round_index) for client, task in group]
        for step in range(group[0][1].num_batches):
            active = sum(task.num_batches > step for _, task in group)
            width = min(self.clients_per_group, 1 << (active - 1).bit_length()) if self.training.compile else active
            drawn = [next(stream) for stream in streams[:active]]
            rows = np.zeros((width, size), dtype=np.int64)
            mask = np.zeros((width, size), dtype=bool)
            mask[active:] = True  # rows that nobody reads
            for place, (own, _) in enumerate(drawn):
                rows[place, : len(own)] = starts[place] + own
                mask[place, : len(own)] = True
            draws = tuple(_pad(arrays, width, size) for arrays in zip(*(numbers for _, numbers in drawn), strict=True))
            chosen = pool[to_device(rows, device)]  # (width, B)
            batch = tuple(tensor[chosen] for tensor in tensors)
            yield active, width, batch, tuple(to_device(array, device) for array in draws), to_device(mask, device)


class _Losses(nn.Module):
    """The objective as a module, so that `functional_call` can put other weights in."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        return self.objective.losses(self.model, batch, draws)


class _StackedOptimizer:
    """SGD and AdamW on rows: PyTorch's arithmetic, where only the first rows take a step."""

    def __init__(self, theta: Tensor, settings: FederatedTraining, rate: float) -> None:
        self.theta, self.settings, self.rate, self.steps = theta, settings, rate, 0
        self.first = torch.zeros_like(theta)
        self.second = torch.zeros_like(theta) if settings.optimizer == "adamw" else None

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the first rows of theta by their gradients (A, P)."""
        active, settings = len(gradient), self.settings
        theta, first = self.theta[:active], self.first[:active]
        self.steps += 1
        if self.second is None:
            first.mul_(settings.momentum).add_(gradient + settings.weight_decay * theta)
            theta.sub_(first, alpha=self.rate)
            return
        beta_1, beta_2, second = settings.momentum, 0.999, self.second[:active]
        theta.mul_(1 - self.rate * settings.weight_decay)
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        spread = (second / (1 - beta_2**self.steps)).sqrt_().add_(1e-8)
        theta.addcdiv_(first, spread, value=-self.rate / (1 - beta_1**self.steps))


def _pad(arrays: Sequence[np.ndarray], width: int, size: int) -> np.ndarray:
    """Arrays (b_i, ...) with b_i <= size -> one (width, size, ...), zeros where there is nothing."""
    padded = np.zeros((width, size, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for place, array in enumerate(arrays):
        padded[place, : len(array)] = array
    return padded
