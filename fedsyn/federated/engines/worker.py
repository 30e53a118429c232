"""What a worker of `processes` and of `ray` is: a resident model, and the sum of its clients' updates of a round."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedsyn.federated.arithmetic import set_arithmetic
from fedsyn.federated.client import Answer, Broadcast, Client, Task, Training
from fedsyn.federated.flat import FlatModel
from fedsyn.federated.local_training import LocalTrainer

Report = tuple[float, float, np.ndarray | None]
"""A client's mean loss, its largest change of a weight, and its update (P,) where the algorithm needs it apart."""

Part = tuple[np.ndarray, np.ndarray]
"""A worker's sums of a round: updates (P,) and statistics (Q,), float64."""


@dataclass(frozen=True)
class Shard:
    """Where a client's rows lie in the concatenated indices of all clients."""

    client_id: int
    start: int
    stop: int


def skeleton(flat: FlatModel) -> nn.Module:
    """The model without its weights, to be sent to workers; weights follow with every round's broadcast."""
    return copy.deepcopy(flat.model).to("meta")


def shards(clients: Sequence[Client]) -> tuple[list[Shard], Tensor]:
    """Every client's place in the concatenated indices, and those (n,)."""
    stops = torch.tensor([client.num_samples for client in clients]).cumsum(0).tolist()
    places = [
        Shard(client.client_id, stop - client.num_samples, stop) for client, stop in zip(clients, stops, strict=True)
    ]
    return places, torch.cat([client.indices for client in clients]).cpu()


class Worker:
    """Trains the clients that it is handed, and keeps their sum until it is asked for."""

    def __init__(
        self,
        model: nn.Module,
        training: Training,
        tensors: Sequence[Tensor],
        places: Sequence[Shard],
        indices: Tensor,
        device: torch.device,
    ) -> None:
        torch.set_num_threads(1)
        set_arithmetic(training.settings)
        self.training, self.device = training, device
        self.trainer = LocalTrainer(FlatModel(model.to_empty(device=device).train()), training)
        shared, rows = tuple(tensor.to(device) for tensor in tensors), indices.to(device)
        self.clients: Mapping[int, Client] = {
            place.client_id: Client(place.client_id, shared, rows[place.start : place.stop]) for place in places
        }
        self.broadcast: Broadcast | None = None
        self.answer: Answer | None = None

    def begin(self, broadcast: Broadcast) -> None:
        """A new round: new weights, and a sum of nothing."""
        self.broadcast = Broadcast(
            broadcast.round_index,
            broadcast.learning_rate,
            broadcast.weights.to(self.device),
            broadcast.statistics.to(self.device),
            None if broadcast.corrections is None else broadcast.corrections.to(self.device),
        )
        self.answer = Answer.empty(self.broadcast, None)

    def train(self, task: Task) -> Report:
        """Train one client of the round."""
        assert self.broadcast is not None
        assert self.answer is not None
        update = self.trainer.train(self.clients[task.client_id], task, self.broadcast)
        loss, size = update.report.tolist()
        if self.training.keeps_each:
            return loss, size, update.weights.cpu().numpy()
        self.answer.add(task, update)
        return loss, size, None

    def collect(self) -> Part:
        """The sums of the clients trained in this round."""
        assert self.answer is not None
        return self.answer.updates.total.cpu().numpy(), self.answer.statistics.total.cpu().numpy()
