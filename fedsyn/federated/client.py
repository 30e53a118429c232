"""What passes between the server and its clients in a round: data stay, weights go down, sums of updates go up."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsyn.config import FederatedTraining
from fedsyn.federated.exact import ExactSum
from fedsyn.federated.objective import Objective


@dataclass(frozen=True)
class Client:
    """One client's training data: rows `indices` (n_k,) of tensors that all clients share in memory."""

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


@dataclass(frozen=True)
class Broadcast:
    """What goes down to the clients of a round."""

    round_index: int
    learning_rate: float
    weights: Tensor
    """theta^r (P,)."""
    statistics: Tensor
    """BatchNorm's running statistics (Q,); empty without BatchNorm."""
    corrections: Tensor | None = None
    """Added to every local gradient, one row for each task (m, P): SCAFFOLD's c - c_k."""


@dataclass(frozen=True)
class Task:
    """One client's part in a round."""

    row: int
    """Its place in the cohort."""
    place: int
    """Its client's place among all K clients."""
    client_id: int
    num_samples: int
    num_batches: int
    share: float
    """p_k: its part of an average over samples."""
    weight: float
    """The factor of its update in the round's sum."""


@dataclass(frozen=True)
class Update:
    """What one client's local training gives."""

    weights: Tensor
    """Delta_k = theta_k - theta^r (P,); zero where it is not finite."""
    statistics: Tensor
    """The change of the running statistics (Q,)."""
    report: Tensor
    """(2,): the mean loss, and the largest change of a weight."""


@dataclass
class Answer:
    """What goes up from the clients of a round, added up."""

    updates: ExactSum
    """sum_k weight_k Delta_k (P,), over the clients whose update is finite."""
    statistics: ExactSum
    """sum_k share_k (change of the running statistics) (Q,)."""
    each: Tensor | None
    """Every Delta_k (m, P), where the server algorithm needs them apart."""

    @staticmethod
    def empty(broadcast: Broadcast, rows: int | None) -> "Answer":
        """Nothing yet; with `rows`, updates are kept apart."""
        weights, statistics = broadcast.weights, broadcast.statistics
        each = None if rows is None else weights.new_zeros(rows, len(weights))
        return Answer(
            ExactSum.zeros(len(weights), weights.device), ExactSum.zeros(len(statistics), weights.device), each
        )

    def add(self, task: Task, update: Update) -> None:
        """Add one client's update."""
        if self.each is None:
            self.updates.add(update.weights, task.weight)
        else:
            self.each[task.row] = update.weights
        if len(update.statistics):
            self.statistics.add(update.statistics, task.share)


@dataclass(frozen=True)
class Training:
    """What all rounds of a training have in common: the job that an engine carries out."""

    objective: Objective
    settings: FederatedTraining
    seed: int
    stage: str
    keeps_each: bool = False
    """Whether the server algorithm needs every update apart."""
    corrects: bool = False
    """Whether the server algorithm adds something to every gradient."""
    min_batch: int = 1
    """Samples of a batch at least; a smaller one is filled up by repeating its own. BatchNorm needs two."""
    class_balanced: bool = False
    """Whether batches are drawn with every class of the client equally likely; the second tensor holds class ids."""
    compile: bool = False
