"""Workers on a Ray cluster, or on this machine through Ray: persistent actors, with whole or fractional GPUs.

Data and model go into Ray's object store once, weights once a round; each actor sends one sum a round. The cluster's
nodes need fedsyn installed.
"""

import logging
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedsyn.config import Execution
from fedsyn.federated.client import Broadcast, Client, Task, Training
from fedsyn.federated.engines.pool import A_WHILE, WorkerPool
from fedsyn.federated.engines.worker import Part, Report, Worker, shards, skeleton
from fedsyn.federated.flat import FlatModel

PATIENCE = 180
"""Seconds for all actors to start: each imports PyTorch."""


class RayEngine(WorkerPool):
    """Bit-equal to `sequential` with one thread. An actor that dies is replaced, and its clients are trained again."""

    def __init__(
        self, flat: FlatModel, clients: Sequence[Client], training: Training, num_workers: int, execution: Execution
    ) -> None:
        self.ray = connect(execution, num_workers)
        super().__init__(training.stage, num_workers, training.keeps_each)
        places, indices = shards(clients)
        tensors = [tensor.cpu().numpy() for tensor in clients[0].tensors]
        device = "cuda" if execution.gpus_per_worker > 0 else "cpu"
        self.job = self.ray.put((skeleton(flat), training, tensors, places, indices.numpy(), device))
        self.actor = self.ray.remote(num_cpus=1, num_gpus=execution.gpus_per_worker)(_Actor)
        self.round: Any = None
        self.workers = [self.actor.remote(self.job) for _ in range(self.num_workers)]
        self.pending: dict[Any, int] = {}
        try:
            self._await_workers()
        except BaseException:
            self.close()
            raise

    def _await_workers(self) -> None:
        """Wait until every actor is up.

        Raises:
            ValueError: the cluster has no room for them.
            RuntimeError: an actor cannot be built; the message has its traceback.
        """
        greetings = [worker.ready.remote() for worker in self.workers]
        ready, missing = self.ray.wait(greetings, num_returns=len(greetings), timeout=PATIENCE)
        for greeting in ready:
            try:
                self.ray.get(greeting)
            except self.ray.exceptions.RayError as error:
                raise RuntimeError(f"{self.stage}: a Ray actor cannot start\n{error}") from error
        if missing:
            raise ValueError(
                f"execution.workers: {len(missing)} of {len(greetings)} Ray actors found no room within {PATIENCE} s; "
                f"free in the cluster: {self.ray.available_resources()}; use fewer workers or gpus_per_worker"
            )

    def begin(self, broadcast: Broadcast) -> None:
        vectors = {name: getattr(broadcast, name) for name in ("weights", "statistics", "corrections")}
        arrays: Any = {name: vector.cpu().numpy() for name, vector in vectors.items() if vector is not None}
        self.round = self.ray.put(replace(broadcast, **arrays))
        for worker in self.workers:
            worker.begin.remote(self.round)

    def start(self, worker: int, task: Task) -> None:
        self.pending[self.workers[worker].train.remote(task)] = worker

    def wait(self, busy: Sequence[int]) -> Mapping[int, Report | None]:
        ready, _ = self.ray.wait(list(self.pending), num_returns=1, timeout=A_WHILE)
        return {self.pending.pop(reference): self._get(reference) for reference in ready}

    def collect(self, worker: int) -> Part | None:
        return self._get(self.workers[worker].collect.remote())

    def cause(self, worker: int) -> str:
        return "Ray's logs have the reason; memory is the usual one, and fewer execution.workers need less"

    def replace(self, worker: int) -> None:
        self.ray.kill(self.workers[worker])
        self.workers[worker] = self.actor.remote(self.job)
        self.workers[worker].begin.remote(self.round)

    def close(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker)

    def _get(self, reference: Any) -> Any:
        """What an actor has answered; None where it is gone."""
        try:
            return self.ray.get(reference)
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError):
            return None
        except self.ray.exceptions.RayTaskError as error:
            raise RuntimeError(f"{self.stage}: a worker failed\n{error}") from error


def connect(execution: Execution, num_workers: int) -> Any:
    """The `ray` module, connected to the cluster of `execution`, or to one started on this machine.

    Raises:
        ValueError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("execution.engine 'ray' needs Ray: pip install 'fedsyn[ray]', or use 'processes'") from error
    if not ray.is_initialized():
        address = execution.ray_address
        # 'local' starts a cluster of its own, whatever runs on this machine already
        own = {"address": "local", "num_cpus": num_workers, "include_dashboard": False}
        options: Any = {"address": address} if address else own
        try:
            _knock(address)
            ray.init(**options, log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"execution.ray_address: no Ray cluster answers at {address!r} ({error}); "
                "start one (`ray start --head`), or leave the address empty for one on this machine"
            ) from error
    return ray


def _knock(address: str | None) -> None:
    """Refuse at once an address where nobody listens: Ray itself would try for many minutes.

    Raises:
        OSError: nobody listens there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class _Actor:
    """A `Worker` behind Ray's calls."""

    def __init__(self, job: tuple[Any, ...]) -> None:
        model, training, arrays, places, indices, device = job
        tensors = [_tensor(array) for array in arrays]
        self.worker = Worker(model, training, tensors, places, _tensor(indices), torch.device(device))

    def ready(self) -> None:
        """Nothing: who answers is up."""

    def begin(self, broadcast: Any) -> None:
        arrays = {name: getattr(broadcast, name) for name in ("weights", "statistics", "corrections")}
        tensors = {name: _tensor(array) for name, array in arrays.items() if array is not None}
        self.worker.begin(replace(broadcast, **tensors))

    def train(self, task: Task) -> Report:
        return self.worker.train(task)

    def collect(self) -> Part:
        return self.worker.collect()


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over an array of Ray's object store. That is read-only, and nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
