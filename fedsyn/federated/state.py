"""All that a training is after some rounds: enough to save, restore and continue it to the same bits."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedsyn.artifacts import Checkpoints
from fedsyn.federated.algorithms import Memory
from fedsyn.interruption import Interrupted

logger = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """The global model as a vector, what the server remembers, and the course so far."""

    weights: Tensor
    """theta^r (P,), in the order of `flat.Layout`."""
    statistics: Tensor
    """BatchNorm's running statistics (Q,); empty without BatchNorm."""
    averaged: Tensor | None = None
    """The server's exponential moving average of theta, where asked for."""
    memory: Memory = field(default_factory=dict)
    """What the server algorithm keeps between rounds."""
    rounds_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    images_seen: int = 0
    """Samples in all local batches of this process, for a rate; not kept."""

    def result(self) -> Tensor:
        """The weights to use: the moving average where there is one."""
        return self.weights if self.averaged is None else self.averaged

    def save(self, path: Path) -> None:
        """Write everything into one safetensors file."""
        tensors = {"weights": self.weights, "statistics": self.statistics}
        tensors |= {} if self.averaged is None else {"averaged": self.averaged}
        tensors |= {f"memory.{name}": tensor for name, tensor in self.memory.items()}
        course = json.dumps({"rounds_done": self.rounds_done, "history": self.history})
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, {"course": course})

    @staticmethod
    def restore(path: Path, device: torch.device | str = "cpu") -> "TrainingState":
        """Read what `save` wrote."""
        with safe_open(path, "pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            course = json.loads(file.metadata()["course"])
        memory = {
            name.removeprefix("memory."): tensors.pop(name) for name in list(tensors) if name.startswith("memory.")
        }
        return TrainingState(**tensors, memory=memory, **course)


def restored(checkpoints: Checkpoints, rounds: int, device: torch.device) -> TrainingState | None:
    """The state that an earlier attempt of a training over `rounds` rounds has kept, or None. What lies beyond them in
    the chain belongs to the training after it."""
    chain = [found for found in checkpoints.chain() if found.stop <= rounds]
    if not chain:
        return None
    logger.info("going on after round %d", chain[-1].stop)
    return TrainingState.restore(chain[-1].path, device)


@contextmanager
def keeping(state: TrainingState, checkpoints: Checkpoints | None) -> Iterator[Callable[[bool], None]]:
    """A function to call after each round: keeps `state` where that is due, or `now`. So does an interruption."""
    kept = state.rounds_done

    def save() -> None:
        nonlocal kept
        if checkpoints is not None and state.rounds_done > kept:
            checkpoints.save(0, state.rounds_done, "safetensors", state.save)
            kept = state.rounds_done

    def keep(now: bool = False) -> None:
        if now or (checkpoints is not None and checkpoints.due(state.rounds_done - kept)):
            save()

    try:
        yield keep
    except Interrupted:  # between two batches: `state` is as the last whole round left it
        save()
        raise
