"""FedAvg (McMahan et al., 2017): theta^{r+1} = sum_{k in S_r} p_k theta_k^{r+1}, p_k = n_k / sum_{j in S_r} n_j.

Client functions take one client's data; server functions take only what goes up: weights, sizes and loss sums.
Classifier, autoencoder and denoiser go through the same loop, each with its objective.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsyn.config import FederatedTraining
from fedsyn.randomness import generator

Objective = Callable[[Any, tuple[Tensor, ...], np.random.Generator], Tensor]
"""(model, batch, generator of this batch's draws) -> mean loss of the batch, a scalar tensor."""


@dataclass(frozen=True)
class Client:
    """One client's training data: rows `indices` (n_k,) of tensors that all clients may share in memory."""

    client_id: int
    tensors: tuple[Tensor, ...]
    indices: Tensor

    @property
    def num_samples(self) -> int:
        """n_k, the client's weight in the average."""
        return len(self.indices)


def group_by_client(owners: np.ndarray, rows: np.ndarray, tensors: tuple[Tensor, ...]) -> list[Client]:
    """The clients that own `rows` (n,) of the shared `tensors`; `owners` (n,) says who owns which row."""
    device = tensors[0].device
    return [
        Client(int(client_id), tensors, torch.from_numpy(rows[owners == client_id].astype(np.int64)).to(device))
        for client_id in np.unique(owners)
    ]


@dataclass
class TrainingState:
    """All that a training is after some rounds: enough to save, restore and continue it."""

    weights: list[Tensor]
    """theta^r, in the order of `model.parameters()`."""
    averaged: list[Tensor] | None = None
    """The server's exponential moving average of theta, where asked for."""
    rounds_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def result(self) -> list[Tensor]:
        """The weights to use: the moving average where there is one."""
        return self.weights if self.averaged is None else self.averaged


@dataclass(frozen=True)
class ClientUpdate:
    """What goes up from a client after its local training."""

    weights: Sequence[Tensor]
    num_samples: int
    loss: Tensor


def federated_averaging(
    model: nn.Module,
    clients: Sequence[Client],
    objective: Objective,
    settings: FederatedTraining,
    *,
    seed: int,
    stage: str,
    state: TrainingState | None = None,
    after_round: Callable[[TrainingState], None] = lambda state: None,
) -> TrainingState:
    """Train `model` for `settings.rounds` rounds and leave the resulting weights in it.

    `model` is the one resident model: every client trains in it, so memory does not grow with clients. Its
    weights are theta^0 unless `state` continues an earlier training. `after_round` sees the state after each
    round and may add measurements to the last entry of its history.

    Raises:
        ValueError: no client has a sample, or a client's loss (the message names round and client) or the averaged
            weights are not finite.
    """
    clients = [client for client in clients if client.num_samples > 0]
    if not clients:
        raise ValueError(f"{stage}: no client has a sample to train on; raise partition.labeled_fraction")
    parameters = list(model.parameters())
    if state is None:
        state = TrainingState([parameter.detach().clone() for parameter in parameters])
        state.averaged = [weight.clone() for weight in state.weights] if settings.ema_decay else None
    model.train()
    for round_index in range(state.rounds_done, settings.rounds):
        # 1. the server draws the round's clients and sends them theta^r
        cohort = sample_clients(
            clients, settings.client_fraction, generator(seed, stage, "cohort", round_index=round_index)
        )
        rate = learning_rate(settings, round_index)
        # 2. each trains on its own data; the server adds up p_k theta_k as they come in, never holding them all
        total = sum(client.num_samples for client in cohort)
        mean = [torch.zeros_like(weight) for weight in state.weights]
        losses = []
        for client in cohort:
            draw = generator(seed, stage, "local training", round_index=round_index, client_id=client.client_id)
            update = train_client(model, state.weights, client, objective, settings, rate, draw)
            torch._foreach_add_(mean, list(update.weights), alpha=update.num_samples / total)
            losses.append(update.loss * (update.num_samples / total))
        # 3. the mean becomes theta^{r+1}
        size = torch.stack(torch._foreach_norm(mean)).sum()
        *loss, norm = torch.stack([*losses, size]).tolist()  # one wait for all losses of the round
        _refuse_nan(loss, norm, cohort, stage, round_index)
        state.weights = mean
        state.rounds_done = round_index + 1
        if state.averaged is not None:
            _average_over_rounds(state.averaged, state.weights, settings.ema_decay, round_index)
        state.history.append({"round": round_index + 1, "train_loss": sum(loss)})
        load_weights(parameters, state.result())
        after_round(state)
    load_weights(parameters, state.result())
    return state


def train_client(
    model: nn.Module,
    weights: Sequence[Tensor],
    client: Client,
    objective: Objective,
    settings: FederatedTraining,
    rate: float,
    rng: np.random.Generator,
) -> ClientUpdate:
    """Client side: start from the global weights, train locally, return the model's own parameters (not copies)."""
    parameters = list(model.parameters())
    load_weights(parameters, weights)
    optimizer = build_optimizer(parameters, settings, rate)
    losses = []
    for rows in batches(client.num_samples, settings, rng):
        chosen = client.indices[torch.from_numpy(rows)]
        loss = objective(model, tuple(tensor[chosen] for tensor in client.tensors), rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        losses.append(loss.detach())
    return ClientUpdate(
        [parameter.detach() for parameter in parameters], client.num_samples, torch.stack(losses).mean()
    )


def batches(num_samples: int, settings: FederatedTraining, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of each local batch: shuffled epochs, for `local_epochs` epochs or exactly `local_steps` batches."""
    size = settings.batch_size
    per_epoch = math.ceil(num_samples / size)
    remaining = settings.local_steps or settings.local_epochs * per_epoch
    while remaining > 0:
        order = rng.permutation(num_samples)
        for start in range(0, num_samples, size)[:remaining]:
            yield order[start : start + size]
        remaining -= per_epoch


def sample_clients(clients: Sequence[Client], fraction: float, rng: np.random.Generator) -> list[Client]:
    """S_r: a uniform draw of ceil(fraction * K) clients, in the order of their numbers."""
    count = math.ceil(fraction * len(clients) - 1e-9)  # 0.07 * 100 is a little more than 7
    return [clients[row] for row in sorted(rng.permutation(len(clients))[:count])]


def learning_rate(settings: FederatedTraining, round_index: int) -> float:
    """The local learning rate of a round: constant, or half a cosine from its first value towards zero."""
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * round_index / settings.rounds))


def build_optimizer(parameters: list[nn.Parameter], settings: FederatedTraining, rate: float) -> torch.optim.Optimizer:
    """A fresh local optimiser, in PyTorch's fused implementation."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    betas = (settings.momentum, 0.999)
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=settings.weight_decay, fused=True)


@torch.no_grad()
def load_weights(parameters: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Copy `weights` into `parameters`, in place."""
    torch._foreach_copy_(list(parameters), list(weights))


def _average_over_rounds(averaged: list[Tensor], weights: list[Tensor], decay: float, round_index: int) -> None:
    warm = min(decay, (1 + round_index) / (10 + round_index))  # early rounds count little
    torch._foreach_lerp_(averaged, weights, 1 - warm)


def _refuse_nan(losses: list[float], norm: float, cohort: Sequence[Client], stage: str, round_index: int) -> None:
    for client, loss in zip(cohort, losses, strict=True):
        if not math.isfinite(loss):
            raise ValueError(
                f"{stage}: the loss of client {client.client_id} is {loss} in round {round_index + 1}; "
                "lower its learning_rate or set its gradient_clip"
            )
    if not math.isfinite(norm):
        raise ValueError(
            f"{stage}: the averaged weights are not finite after round {round_index + 1}; "
            "lower its learning_rate or set its gradient_clip"
        )
