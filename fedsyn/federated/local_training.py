"""The client's side of a round: start from the global weights, train on one's own data, answer with the update."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsyn import interruption
from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Broadcast, Client, Task, Training, Update
from fedsyn.federated.exact import LIMIT
from fedsyn.federated.flat import FlatModel
from fedsyn.randomness import generator

INITIAL_SCALE = 2.0**8
"""Of losses under fp16. A client has few steps, so it cannot afford to find the scale from above, skipping steps."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class LocalTrainer:
    """One resident model in which one client after the other trains: memory does not grow with clients."""

    def __init__(self, flat: FlatModel, training: Training) -> None:
        self.flat, self.training = flat, training
        losses = training.objective.losses
        self.full_batch_losses = torch.compile(losses) if training.compile else losses

    def train(self, client: Client, task: Task, broadcast: Broadcast) -> Update:
        """The update of `client`. Nothing here waits for the device: whether it is finite, the report tells."""
        flat, privacy = self.flat, self.training.settings.privacy
        flat.weights.copy_(broadcast.weights)
        flat.statistics.copy_(broadcast.statistics)
        loss = self._minimise(client, task, broadcast)
        change = flat.weights - broadcast.weights
        shift = flat.statistics - broadcast.statistics
        size = largest_change(torch.cat([change, shift]) if len(shift) else change)
        usable = finite(loss, size)
        weights = zero_unless(usable, change)
        statistics = zero_unless(usable, shift)
        return Update(clip(weights, privacy.clip_norm) if privacy else weights, statistics, torch.stack([loss, size]))

    def _minimise(self, client: Client, task: Task, broadcast: Broadcast) -> Tensor:
        """The local steps; returns the mean loss of the batches."""
        training, settings, device = self.training, self.training.settings, broadcast.weights.device
        parameters, model = self.flat.parameters, self.flat.model
        optimizer = build_optimizer(parameters, settings, broadcast.learning_rate)
        scaler = torch.amp.GradScaler(device.type, INITIAL_SCALE, enabled=settings.precision == "fp16")
        pull = self._pull(task, broadcast)
        losses = []
        for batch, draws in batches_on_device(client, task, training, broadcast.round_index):
            interruption.check()
            full = len(batch[0]) == settings.batch_size
            with autocast(device, settings.precision):
                loss = (self.full_batch_losses if full else training.objective.losses)(model, batch, draws).mean()
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            if pull is not None or settings.gradient_clip is not None:
                scaler.unscale_(optimizer)
            if pull is not None:
                pull()
            if settings.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def _pull(self, task: Task, broadcast: Broadcast) -> Callable[[], None] | None:
        """What the server algorithm adds to every gradient: FedProx's mu (theta_k - theta), SCAFFOLD's c - c_k."""
        mu, layout, parameters = proximal_weight(self.training.settings), self.flat.layout, self.flat.parameters
        if mu == 0 and broadcast.corrections is None:
            return None
        anchor: Any = layout.bind(broadcast.weights)
        rows = broadcast.corrections
        correction: Any = None if rows is None else layout.bind(rows[task.row])

        @torch.no_grad()
        def pull() -> None:
            gradients: Any = [parameter.grad for parameter in parameters]
            if mu:
                torch._foreach_add_(gradients, torch._foreach_sub(parameters, anchor), alpha=mu)
            if correction is not None:
                torch._foreach_add_(gradients, correction)

        return pull


def finite(loss: Tensor, size: Tensor) -> Tensor:
    """Whether an update counts: its loss is a number and no weight moved further than `exact.LIMIT`."""
    return torch.isfinite(loss) & (size < LIMIT)


def largest_change(update: Tensor) -> Tensor:
    """max_i |update_i| (a scalar), NaN where an element is; the infinity norm takes fifteen times as long."""
    low, high = torch.aminmax(update)
    return torch.maximum(-low, high)


def zero_unless(usable: Tensor, update: Tensor) -> Tensor:
    """`update`, or zeros of its shape; without waiting for a GPU, and without a pass over the data on a CPU."""
    if update.is_cuda:
        return torch.where(usable, update, 0.0)
    return update if usable else torch.zeros_like(update)


def clip(update: Tensor, clip_norm: float) -> Tensor:
    """`update` (..., P) scaled, in place, to a norm of at most `clip_norm` along its last axis."""
    norm = torch.linalg.vector_norm(update, dim=-1, keepdim=True)
    return update.mul_((clip_norm / norm).clamp(max=1.0))


def proximal_weight(settings: FederatedTraining) -> float:
    """mu of FedProx; 0 for every other algorithm."""
    return settings.server.proximal_weight if settings.server.algorithm == "fedprox" else 0.0


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The arithmetic of the forward pass."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def build_optimizer(
    parameters: Sequence[nn.Parameter], settings: FederatedTraining, rate: float
) -> torch.optim.Optimizer:
    """A fresh local optimiser, in PyTorch's fused implementation where that is sound.

    Fused SGD reads memory that nobody wrote when loss scaling has skipped its first step.
    """
    if settings.optimizer == "sgd":
        fused = settings.precision != "fp16"
        return torch.optim.SGD(
            parameters, lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused
        )
    betas = (settings.momentum, 0.999)
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=settings.weight_decay, fused=True)


# --- batches ---


def num_batches(num_samples: int, settings: FederatedTraining) -> int:
    """The local steps tau_k of a client that is no straggler."""
    return settings.local_steps or settings.local_epochs * math.ceil(num_samples / settings.batch_size)


def num_drawn(num_samples: int, count: int, size: int) -> int:
    """Samples in the first `count` batches that `batches` gives."""
    epochs, rest = divmod(count, math.ceil(num_samples / size))
    return epochs * num_samples + min(rest * size, num_samples)


def batches(num_samples: int, size: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `count` local batches: epochs shuffled anew, each cut into batches of `size` and a rest."""
    while count > 0:
        order = rng.permutation(num_samples)
        for start in range(0, num_samples, size)[:count]:
            yield order[start : start + size]
            count -= 1


def balanced_batches(labels: np.ndarray, size: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `count` local batches of the sizes that `batches` has, each row drawn by itself, with replacement: one of
    the classes in `labels` (n,), all equally likely, and then one of its samples."""
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    chances = 1 / (len(sizes) * sizes[place])
    for step in range(count):
        start = step % math.ceil(len(labels) / size) * size
        yield rng.choice(len(labels), min(size, len(labels) - start), p=chances)


def local_batches(
    client: Client, task: Task, training: Training, round_index: int
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """A client's batches of a round: rows of its indices (B,), and the random numbers that the loss asks for."""
    names = {"round_index": round_index, "client_id": client.client_id}
    order = generator(training.seed, training.stage, "batches", **names)
    draws = generator(training.seed, training.stage, "draws", **names)
    size, count = training.settings.batch_size, task.num_batches
    if training.class_balanced:
        found = balanced_batches(client.tensors[1][client.indices].cpu().numpy(), size, count, order)
    else:
        found = batches(client.num_samples, size, count, order)
    for rows in found:
        rows = np.resize(rows, max(len(rows), training.min_batch))
        yield rows, training.objective.draw(len(rows), draws)


def batches_on_device(
    client: Client, task: Task, training: Training, round_index: int
) -> Iterator[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """The same as tensors: the samples of each batch, and its random numbers."""
    device = client.indices.device
    for rows, draws in local_batches(client, task, training, round_index):
        chosen = client.indices[to_device(rows, device)]
        yield tuple(tensor[chosen] for tensor in client.tensors), tuple(to_device(array, device) for array in draws)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on `device`; a copy to a GPU starts from pinned memory and is not waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
