"""Federated problems small enough for paper: one weight, and a tiny classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsyn.config import Classifier, Execution, FederatedTraining
from fedsyn.data.images import to_input
from fedsyn.federated.client import Client, group_by_client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.classifier import build_classifier
from fedsyn.models.initialize import initialize

PLAIN = FederatedTraining(rounds=1, batch_size=100, learning_rate=0.1, learning_rate_schedule="constant", momentum=0.0)
"""One step of plain SGD at each client."""


def settings(**changes: Any) -> FederatedTraining:
    """`PLAIN` with changes, validated."""
    return FederatedTraining(**(PLAIN.model_dump() | changes))


class OneWeight(nn.Module):
    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([start]))


@dataclass(frozen=True)
class HalfSquare:
    """(w - y)^2 / 2, whose gradient is w - y."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        return ()

    def losses(self, model: OneWeight, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        return (model.weight - batch[0]).square() / 2


def clients_with(*targets: list[float]) -> list[Client]:
    values = torch.tensor([target for own in targets for target in own])
    ends = np.cumsum([len(own) for own in targets])
    rows = [torch.arange(end - len(own), end) for own, end in zip(targets, ends, strict=True)]
    return [Client(client_id, (values,), own) for client_id, own in enumerate(rows)]


def train(
    chosen: FederatedTraining, *targets: list[float], model: nn.Module | None = None, **rest: Any
) -> TrainingState:
    """Train one weight, 0 at first, on clients with these targets."""
    model = OneWeight() if model is None else model
    return federated_training(model, clients_with(*targets), HalfSquare(), chosen, seed=0, stage="classifier", **rest)


@dataclass(frozen=True)
class DoubleCrossEntropy:
    """Cross-entropy of images that are floats already, in whatever precision they have."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        return ()

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def small_problem(num_clients: int = 5, **changes: Any) -> tuple[nn.Module, list[Client]]:
    """A CNN of width 8, and 60 random images of 3 classes, spread unevenly."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (60, 8, 8, 1), np.uint8))
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    chances = 1 / np.arange(1, num_clients + 1)
    owner = rng.choice(num_clients, 60, p=chances / chances.sum())
    model = build_classifier(Classifier(width=8, **changes), 1, 8, 8, 3)
    initialize(model, 0, "classifier")
    return model, group_by_client(owner, np.arange(60), (images, labels))


def double_problem(num_clients: int = 5) -> tuple[nn.Module, list[Client]]:
    """The same in double precision, where engines can be compared without rounding in the way."""
    model, clients = small_problem(num_clients)
    tensors = (to_input(clients[0].tensors[0]).double(), clients[0].tensors[1])
    return model.double(), [Client(client.client_id, tensors, client.indices) for client in clients]


def weights_after(
    model: nn.Module, clients: list[Client], objective: Any, chosen: FederatedTraining, engine: str, **options: Any
) -> Tensor:
    """theta^R by an engine."""
    execution = Execution(engine=engine, **options)
    return federated_training(
        model, clients, objective, chosen, seed=3, stage="naive", execution=execution
    ).weights.clone()
