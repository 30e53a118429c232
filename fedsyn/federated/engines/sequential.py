"""One client after the other, in one resident model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsyn.federated.client import Answer, Broadcast, Client, Task, Training
from fedsyn.federated.flat import FlatModel
from fedsyn.federated.local_training import LocalTrainer


class SequentialEngine:
    """The reference: a loop over the clients of the round."""

    def __init__(self, flat: FlatModel, training: Training) -> None:
        self.training, self.trainer = training, LocalTrainer(flat, training)

    def train_round(self, broadcast: Broadcast, cohort: Sequence[tuple[Client, Task]]) -> tuple[Answer, Tensor]:
        """Train every client of `cohort` from `broadcast`."""
        answer = Answer.empty(broadcast, len(cohort) if self.training.keeps_each else None)
        reports = []
        for client, task in cohort:
            update = self.trainer.train(client, task, broadcast)
            answer.add(task, update)
            reports.append(update.report)
        return answer, torch.stack(reports) if reports else torch.zeros(0, 2)

    def close(self) -> None:
        """Nothing to let go of."""
