"""Workers on this machine: persistent processes of one thread each, or one GPU each, over shared memory."""

import signal
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from fedsyn import interruption
from fedsyn.federated.client import Broadcast, Client, Task, Training
from fedsyn.federated.engines.forkserver import WORKER, context
from fedsyn.federated.engines.pool import A_WHILE, WorkerPool
from fedsyn.federated.engines.shared import SharedMemory, SharedTensor
from fedsyn.federated.engines.worker import Part, Report, Worker, shards, skeleton
from fedsyn.federated.flat import FlatModel


class ProcessEngine(WorkerPool):
    """Bit-equal to `sequential` with one thread. A worker that dies is replaced, and its clients are trained again."""

    def __init__(self, flat: FlatModel, clients: Sequence[Client], training: Training, devices: Sequence[str]) -> None:
        """One worker for each of `devices`; a device may stand there more than once."""
        super().__init__(training.stage, len(devices), training.keeps_each)
        self.memory = SharedMemory()
        share, allocate = self.memory.share, self.memory.allocate
        size, extra = len(flat.weights), len(flat.statistics)
        self.weights, self.statistics = share(flat.weights), share(flat.statistics)
        self.corrections = allocate((len(clients), size), flat.weights.dtype) if training.corrects else None
        self.sums = [
            (allocate((size,), torch.float64), allocate((extra,), torch.float64)) for _ in range(self.num_workers)
        ]
        places, indices = shards(clients)
        tensors = [share(tensor) for tensor in clients[0].tensors]
        self.job = (skeleton(flat), training, tensors, places, share(indices))
        self.devices, self.context = devices, context(flat.weights.is_cuda)
        self.round: Broadcast | None = None
        self.workers: list[tuple[Any, Connection]] = []
        try:
            for worker in range(self.num_workers):
                self.workers.append(self._spawn(worker))
        except BaseException:
            self.close()
            raise

    def begin(self, broadcast: Broadcast) -> None:
        self.weights.open().copy_(broadcast.weights)
        self.statistics.open().copy_(broadcast.statistics)
        if self.corrections is not None and broadcast.corrections is not None:
            self.corrections.open()[: len(broadcast.corrections)] = broadcast.corrections
        addresses: Any = {"weights": self.weights, "statistics": self.statistics, "corrections": self.corrections}
        self.round = replace(broadcast, **addresses)
        for worker in range(self.num_workers):
            self._send(worker, "begin", self.round)

    def start(self, worker: int, task: Task) -> None:
        self._send(worker, "train", task)

    def wait(self, busy: Sequence[int]) -> Mapping[int, Report | None]:
        watched: dict[Any, int] = {}
        for worker in busy:
            process, connection = self.workers[worker]
            watched |= {connection: worker, process.sentinel: worker}
        return {worker: self._receive(worker) for worker in {watched[ready] for ready in wait(list(watched), A_WHILE)}}

    def collect(self, worker: int) -> Part | None:
        self._send(worker, "collect", self.sums[worker])
        while worker not in (answers := self.wait([worker])):
            interruption.check()
        if not answers[worker]:
            return None
        updates, statistics = self.sums[worker]
        return updates.open().numpy(), statistics.open().numpy()

    def cause(self, worker: int) -> str:
        process, _ = self.workers[worker]
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return "killed from outside; memory is the usual reason, and fewer execution.workers need less"
        return (
            f"exit code {process.exitcode}, the reason stands above; a script that trains with workers "
            "must do so under `if __name__ == '__main__':`"
        )

    def replace(self, worker: int) -> None:
        process, connection = self.workers[worker]
        connection.close()
        process.join()
        self.workers[worker] = self._spawn(worker)
        self._send(worker, "begin", self.round)

    def close(self) -> None:
        for _, connection in self.workers:
            connection.close()  # a worker ends when nobody can talk to it any more
        for process, _ in self.workers:
            process.terminate()
            process.join()
        self.memory.close()

    def _spawn(self, worker: int) -> tuple[Any, Connection]:
        here, there = self.context.Pipe()
        job = (there, self.job, self.devices[worker])
        process = self.context.Process(target=serve, args=job, name=f"{WORKER}{worker}", daemon=True)
        process.start()
        there.close()
        return process, here

    def _send(self, worker: int, what: str, argument: object) -> None:
        with suppress(BrokenPipeError):  # `wait` notices that it is gone
            self.workers[worker][1].send((what, argument))

    def _receive(self, worker: int) -> Any:
        """What a worker has answered; None where it is gone."""
        process, connection = self.workers[worker]
        try:
            answer = connection.recv() if connection.poll() or process.is_alive() else None
        except (EOFError, ConnectionResetError):
            return None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.stage}: a worker failed\n{answer}")
        return answer


def serve(connection: Connection, job: tuple[Any, ...], device: str) -> None:
    """A worker's life: do what it is told, until nobody can tell it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run decides what an interrupt means
    try:
        model, training, addresses, places, indices = job
        tensors = [address.open() for address in addresses]
        worker = Worker(model, training, tensors, places, indices.open(), torch.device(device))
        while True:
            what, argument = connection.recv()
            if what == "begin":
                worker.begin(_opened(argument))
            elif what == "train":
                connection.send(worker.train(argument))
            else:
                for address, part in zip(argument, worker.collect(), strict=True):
                    address.open().numpy()[:] = part
                connection.send(True)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception:
        connection.send(traceback.format_exc())


def _opened(broadcast: Any) -> Broadcast:
    """A broadcast whose addresses are opened."""
    vectors = {name: getattr(broadcast, name) for name in ("weights", "statistics", "corrections")}
    return replace(
        broadcast, **{name: address.open() for name, address in vectors.items() if isinstance(address, SharedTensor)}
    )
