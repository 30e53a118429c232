"""A round on workers that may die: longest client first, lost clients again elsewhere.

How a worker is reached (a pipe, a cluster) is the subclass's business. Sums are exact (`exact`), so neither who trained
whom nor what was repeated shows in the result.
"""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedsyn import interruption
from fedsyn.federated.client import Answer, Broadcast, Client, Task
from fedsyn.federated.engines.worker import Part, Report

logger = logging.getLogger(__name__)

A_WHILE = 0.2
"""Seconds after which a wait looks whether the run was asked to stop."""

MAX_ATTEMPTS = 3
"""Workers that one client may take down with it."""


class WorkerPool(ABC):
    """An engine over workers, numbered from 0, each of which trains one client at a time."""

    def __init__(self, stage: str, num_workers: int, keeps_each: bool) -> None:
        self.stage, self.num_workers, self.keeps_each = stage, num_workers, keeps_each

    @abstractmethod
    def begin(self, broadcast: Broadcast) -> None:
        """Make a round's broadcast available to all workers, those of `replace` included."""

    @abstractmethod
    def start(self, worker: int, task: Task) -> None:
        """Hand a task to an idle worker, and return at once."""

    @abstractmethod
    def wait(self, busy: Sequence[int]) -> Mapping[int, Report | None]:
        """Wait, not much longer than `A_WHILE`, until one of the `busy` workers has answered: its report, or None where
        the worker is gone."""

    @abstractmethod
    def collect(self, worker: int) -> Part | None:
        """A worker's sums of the round, or None where the worker is gone."""

    @abstractmethod
    def cause(self, worker: int) -> str:
        """What is known about the end of a worker that is gone."""

    @abstractmethod
    def replace(self, worker: int) -> None:
        """Put a fresh worker in the place of one that is gone."""

    @abstractmethod
    def close(self) -> None:
        """Let go of workers and memory."""

    def train_round(self, broadcast: Broadcast, cohort: Sequence[tuple[Client, Task]]) -> tuple[Answer, Tensor]:
        """Train every client of `cohort` from `broadcast`.

        Raises:
            Interrupted: a signal asked to stop.
            RuntimeError: one client has taken down `MAX_ATTEMPTS` workers.
        """
        answer = Answer.empty(broadcast, len(cohort) if self.keeps_each else None)
        reports = torch.zeros(len(cohort), 2)
        if not cohort:
            return answer, reports
        self.begin(broadcast)
        self._attempts: Counter[int] = Counter()
        waiting = [task for _, task in cohort]
        done: dict[int, list[Task]] = {}
        parts: dict[int, Part] = {}
        while waiting:
            done = self._train(waiting, done, answer, reports)
            waiting = []
            for worker in sorted(done):
                part = self.collect(worker)
                if part is None:
                    waiting += self._give_up(worker, done.pop(worker))
                else:
                    parts[worker] = part
        for worker in done:
            updates, statistics = (torch.tensor(part, device=broadcast.weights.device) for part in parts[worker])
            answer.updates.merge(updates)
            answer.statistics.merge(statistics)
        return answer, reports

    def _train(
        self, tasks: Sequence[Task], done: dict[int, list[Task]], answer: Answer, reports: Tensor
    ) -> dict[int, list[Task]]:
        """Train `tasks`, longest first; returns who has trained what in this round, `done` included."""
        waiting = sorted(tasks, key=lambda task: (task.num_batches, -task.row))
        done, busy = {worker: list(own) for worker, own in done.items()}, dict[int, Task]()
        while waiting or busy:
            for worker in range(self.num_workers):
                if waiting and worker not in busy:
                    busy[worker] = waiting.pop()
                    self.start(worker, busy[worker])
            interruption.check()
            for worker, report in self.wait(list(busy)).items():
                task = busy.pop(worker)
                if report is None:
                    waiting += self._give_up(worker, [*done.pop(worker, []), task])
                    waiting.sort(key=lambda task: (task.num_batches, -task.row))
                    continue
                done.setdefault(worker, []).append(task)
                reports[task.row] = torch.tensor(report[:2])
                if answer.each is not None and report[2] is not None:
                    answer.each[task.row] = torch.tensor(report[2])
        return done

    def _give_up(self, worker: int, tasks: Sequence[Task]) -> Sequence[Task]:
        """Replace a worker that is gone; its clients of this round have to be trained again."""
        interruption.check()  # a signal to the whole process group has ended the workers too
        self._attempts.update([tasks[-1].client_id])
        if self._attempts[tasks[-1].client_id] >= MAX_ATTEMPTS:
            raise RuntimeError(
                f"{self.stage}: {MAX_ATTEMPTS} workers died while they trained client {tasks[-1].client_id}: "
                f"{self.cause(worker)}; engine 'sequential' trains without workers"
            )
        logger.warning("%s: worker %d is gone; %d of its clients are trained again", self.stage, worker, len(tasks))
        self.replace(worker)
        return tasks
