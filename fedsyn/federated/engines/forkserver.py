"""The clean process that workers are forked from. Importable without PyTorch, so that it can start before it is needed.

A run is not forked itself: it has threads, Prefect's among them, and may have initialised CUDA. The server imports what
workers need, once, while the run still imports and reads for itself.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Any

from fedsyn.config import Execution, FederatedTraining

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    [
        "torch._dynamo",  # which the first optimiser of a process imports
        "fedsyn.federated.engines.processes",
        "fedsyn.federated.classification",
        "fedsyn.diffusion.objectives",
    ]
)

WORKER = "fedsyn-"
"""What the names of workers begin with."""

FEW_BATCHES = 300
"""A training of fewer batches is over before workers have started."""


def start_early(settings: FederatedTraining, num_clients: int, execution: Execution) -> None:
    """Start the server in the background where a training is likely to want workers of this machine."""
    least = settings.rounds * settings.client_fraction * num_clients * (settings.local_steps or 1)
    wanted = execution.engine == "processes" or (execution.engine == "auto" and least >= FEW_BATCHES)
    if wanted and not execution.device.startswith("cuda"):
        forkserver.ensure_running()


def refuse_in_a_worker() -> None:
    """Leave a worker that is about to run the script that started it: it would wait for its own run, for ever.

    Raises:
        RuntimeError: this is a worker, and the script lacks `if __name__ == "__main__":`.
    """
    if multiprocessing.current_process().name.startswith(WORKER):
        raise RuntimeError("a script that trains with workers must do so under `if __name__ == '__main__':`")


def context(cuda: bool) -> Any:
    """How workers start. On CUDA each is a process of its own: what they import asks the driver for devices, and a
    process that is forked after that cannot use one."""
    return multiprocessing.get_context("spawn") if cuda else FORKSERVER
