"""Opening the engine that was asked for, or the one that fits."""

import itertools
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from fedsyn.config import Execution
from fedsyn.federated.client import Answer, Broadcast, Client, Task, Training
from fedsyn.federated.cohort import largest_cohort
from fedsyn.federated.engines.forkserver import FEW_BATCHES
from fedsyn.federated.flat import FlatModel
from fedsyn.federated.local_training import num_batches

logger = logging.getLogger(__name__)

SMALL_MODEL = 5_000_000
"""Weights up to which a GPU waits for launches more than it computes, so that clients are worth stacking."""


class Engine(Protocol):
    """Trains the clients of a round."""

    def train_round(self, broadcast: Broadcast, cohort: Sequence[tuple[Client, Task]]) -> tuple[Answer, Tensor]:
        """Train every client of `cohort` from `broadcast`.

        Returns the sums of their updates, and (m, 2) each client's mean loss and largest change of a weight.
        """
        ...

    def close(self) -> None:
        """Let go of workers and memory."""
        ...


@contextmanager
def open_engine(
    flat: FlatModel, clients: Sequence[Client], training: Training, execution: Execution
) -> Iterator[Engine]:
    """The engine of `execution`, for the time of one training.

    Raises:
        ValueError: the engine cannot do what the training asks, or is not there; the message names the way out.
    """
    name, why = str(execution.engine), "as asked"
    if name == "auto":
        name, why = choose(flat, clients, training, execution)
    logger.info("%s: engine %s (%s)", training.stage, name, why)
    engine = _build(name, flat, clients, training, execution)
    try:
        yield engine
    finally:
        engine.close()


def choose(flat: FlatModel, clients: Sequence[Client], training: Training, execution: Execution) -> tuple[str, str]:
    """The engine that fits the model, the clients and the device, and why."""
    from fedsyn.federated.engines.vectorized import obstacle

    settings, device = training.settings, flat.weights.device
    cohort = largest_cohort(len(clients), settings)
    work = sum(num_batches(client.num_samples, settings) for client in clients) * settings.client_fraction
    if device.type == "cuda":
        hindrance = obstacle(flat, training)
        if cohort >= 4 and len(flat.weights) <= SMALL_MODEL and hindrance is None:
            return "vectorized", f"{cohort} clients a round of a model of {len(flat.weights):,} weights on a GPU"
        if cohort >= 2 and num_workers(execution, device) > 1:
            return "processes", f"{num_workers(execution, device)} workers on {torch.cuda.device_count()} GPUs"
        return "sequential", hindrance or "one GPU, and a model or a cohort that gains nothing from stacking"
    if cohort < 2:
        return "sequential", "one client a round"
    if multiprocessing.current_process().daemon:
        return "sequential", "a daemonic process may not start workers"
    if num_workers(execution, device) < 2:
        return "sequential", "one core"
    if work * settings.rounds < FEW_BATCHES:
        return "sequential", f"{work * settings.rounds:.0f} batches are over before workers have started"
    return "processes", f"{cohort} clients a round on {num_workers(execution, device)} workers"


def num_workers(execution: Execution, device: torch.device) -> int:
    """Workers of `processes` and `ray`: as asked, else one a GPU, else one a core."""
    if execution.workers is not None:
        return execution.workers
    return len(_gpus(execution)) if device.type == "cuda" else available_cores()


def worker_devices(execution: Execution, device: torch.device, count: int) -> list[str]:
    """The device of each of `count` workers: the GPU that was asked for by number, else all in turn."""
    if device.type != "cuda":
        return ["cpu"] * count
    return [gpu for gpu, _ in zip(itertools.cycle(_gpus(execution)), range(count), strict=False)]


def _gpus(execution: Execution) -> list[str]:
    named = ":" in execution.device
    return [execution.device] if named else [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def available_cores() -> int:
    """Cores that this process may use."""
    return (os.cpu_count() if sys.platform == "darwin" else len(os.sched_getaffinity(0))) or 1


def _build(name: str, flat: FlatModel, clients: Sequence[Client], training: Training, execution: Execution) -> Engine:
    device = flat.weights.device
    workers = min(num_workers(execution, device), largest_cohort(len(clients), training.settings))
    if name == "processes":
        from fedsyn.federated.engines.processes import ProcessEngine

        return ProcessEngine(flat, clients, training, worker_devices(execution, device, workers))
    if name == "ray":
        from fedsyn.federated.engines.ray import RayEngine

        return RayEngine(flat, clients, training, workers, execution)
    if name == "vectorized":
        from fedsyn.federated.engines.vectorized import VectorizedEngine

        return VectorizedEngine(flat, training, execution.clients_per_group)
    from fedsyn.federated.engines.sequential import SequentialEngine

    return SequentialEngine(flat, training)
