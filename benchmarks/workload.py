"""What every contender trains on, and how every contender is measured.

The workload is one federated round of FedAvg on Fashion-MNIST: clients of very different sizes, one local epoch of SGD
each, and a mean weighted by the clients' sizes. `python benchmarks/workload.py WORKLOAD.npz` writes it; a contender
reads it, trains, and prints one line of JSON (`report`).

A contender imports this module before its framework, since numerical libraries read their number of threads when they
are loaded. Only numpy is needed, so that it imports anywhere.
"""

import argparse
import gzip
import json
import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
NUM_CLASSES = 10
MINIMUM = 10  # samples of a client

BATCH_SIZE = 32
LEARNING_RATE = 0.05
MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Workload:
    """A data set spread over clients: images (N, 28, 28) bytes, labels (N,) and owner (N,), the client of each."""

    images: np.ndarray
    labels: np.ndarray
    owner: np.ndarray

    @property
    def num_clients(self) -> int:
        return int(self.owner.max()) + 1

    def rows(self, client: int) -> np.ndarray:
        """The rows that a client owns, ascending."""
        return np.flatnonzero(self.owner == client)

    def clients(self) -> list[np.ndarray]:
        """The rows of each client."""
        return [self.rows(client) for client in range(self.num_clients)]

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images, labels=self.labels, owner=self.owner)


@cache
def load(path: Path) -> Workload:
    """Read a workload; once per process, also where a framework calls it for every client."""
    with np.load(path) as arrays:
        return Workload(arrays["images"], arrays["labels"], arrays["owner"])


def build(num_samples: int, num_clients: int, alpha: float | None, seed: int) -> Workload:
    """Draw training images of Fashion-MNIST and deal them out: Dirichlet(alpha) for each class, or IID for None."""
    rng = np.random.default_rng(seed)
    images = _read_idx(FASHION_MNIST / "train-images-idx3-ubyte.gz").reshape(-1, 28, 28)
    labels = _read_idx(FASHION_MNIST / "train-labels-idx1-ubyte.gz")
    drawn = rng.permutation(len(labels))[:num_samples]
    images, labels = images[drawn], labels[drawn].astype(np.int64)
    if alpha is None:
        owner = rng.permutation(np.arange(num_samples) % num_clients)
    else:
        owner = _dirichlet(labels, num_clients, alpha, rng)
    return Workload(images, labels, owner)


def _dirichlet(labels: np.ndarray, num_clients: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """The client of each sample: clients' shares of a class are ~ Dirichlet(alpha); the largest give to the least."""
    owner = np.empty(len(labels), dtype=np.int64)
    for label in range(NUM_CLASSES):
        members = rng.permutation(np.flatnonzero(labels == label))
        bounds = np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1] * len(members)
        for client, part in enumerate(np.split(members, bounds.round().astype(int))):
            owner[part] = client
    while (sizes := np.bincount(owner, minlength=num_clients)).min() < MINIMUM:
        owner[rng.choice(np.flatnonzero(owner == sizes.argmax()))] = sizes.argmin()
    return owner


def _read_idx(path: Path) -> np.ndarray:
    """The data of an IDX file, flat: behind a magic number, whose last byte counts the dimensions, and the sizes."""
    raw = gzip.decompress(path.read_bytes())
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])


def prepare_torch() -> None:
    """One thread; and import now what the first optimizer would import (2 s) in the middle of the first round."""
    import torch
    import torch._dynamo

    torch.set_num_threads(1)


def cnn(*, pool_first: bool = False):
    """The model of all PyTorch contenders: 421,642 weights, drawn by a fixed seed.

    `pool_first` swaps ReLU and max-pool, which commute, so that ReLU sees a quarter of the activations. The keys of the
    state dict are the same either way.
    """
    import torch
    from torch import nn

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        after = [nn.MaxPool2d(2), nn.ReLU()] if pool_first else [nn.ReLU(), nn.MaxPool2d(2)]
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *after]

    torch.manual_seed(0)
    head = [nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES)]
    return nn.Sequential(*block(1, 32), *block(32, 64), *head)


def tensors(workload: Workload):
    """All images as floats in [-1, 1], (N, 1, 28, 28), and labels (N,): what most frameworks keep in memory."""
    import torch

    return torch.from_numpy(workload.images)[:, None].float() / 127.5 - 1, torch.from_numpy(workload.labels)


@cache
def client_tensors(workload: Workload) -> list[tuple]:
    """Each client's images and labels as `tensors` gives them."""
    images, labels = tensors(workload)
    return [(images[rows], labels[rows]) for rows in workload.clients()]


def evaluate(model, workload: Workload) -> dict[str, float]:
    """Mean cross-entropy and accuracy of a PyTorch model on all the clients' samples: has a contender learnt?"""
    import torch

    images, labels = tensors(workload)
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(batch) for batch in images.split(500)])
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return {"loss": torch.nn.functional.cross_entropy(logits, labels).item(), "accuracy": accuracy.item()}


@dataclass
class Clock:
    """Wall-clock and CPU seconds of each round, and the peak of memory.

    `start` ends start-up, which counts from the start of the process; `lap` ends a round. What happens inside them is
    not counted. With `processes`, all living descendants count too, which needs psutil: their CPU seconds, and the sum
    of all the peaks of resident memory. Pages that processes share (libraries, an object store) count in each, so that
    sum is an upper bound.
    """

    processes: bool = False
    startup_seconds: float = 0.0
    round_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def start(self) -> None:
        self.startup_seconds = _process_age()
        self._mark()

    def lap(self) -> None:
        self.round_seconds.append(time.perf_counter() - self._wall)
        self.cpu_seconds.append(self._cpu_now() - self._cpu)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.peak_mb = max(self.peak_mb, own + self._of_descendants(lambda process: _peak_mb(process.pid)))
        self._mark()

    def _mark(self) -> None:
        self._cpu = self._cpu_now()
        self._wall = time.perf_counter()

    def _cpu_now(self) -> float:
        return time.process_time() + self._of_descendants(lambda process: sum(process.cpu_times()[:2]))

    def _of_descendants(self, measure) -> float:
        """The sum of a measure of all living descendants."""
        if not self.processes:
            return 0.0
        import psutil

        total = 0.0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess, OSError):  # it has ended by now
                total += measure(process)
        return total


def _process_age() -> float:
    """Seconds since this process started, to the kernel's tick of 10 ms (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    """The peak of resident memory of a living process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    peaks = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0].split()[1]) / 1024 if peaks else 0.0  # a zombie has none


def report(name: str, packages: list[str], clock: Clock, scores: dict[str, float]) -> None:
    """Print a contender's line of JSON; `scores` are of the global model after the last round."""
    line = {
        "name": name,
        "startup_seconds": round(clock.startup_seconds, 3),
        "round_seconds": [round(seconds, 4) for seconds in clock.round_seconds],
        "cpu_seconds": [round(seconds, 4) for seconds in clock.cpu_seconds],
        "peak_mb": round(clock.peak_mb, 1),
        "version": ", ".join(f"{package} {version(package)}" for package in packages),
        "loss": round(scores["loss"], 4),
        "accuracy": round(scores["accuracy"], 4),
    }
    print(json.dumps(line), flush=True)


def arguments() -> argparse.Namespace:
    """A contender's command line: `workload` (a path) and `rounds`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", type=lambda text: Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the workload that the contenders train on.")
    parser.add_argument("path", type=Path, help="an .npz file to write")
    parser.add_argument("--num-samples", type=int, default=6000)
    parser.add_argument("--num-clients", type=int, default=20)
    parser.add_argument("--alpha", type=float, default=0.1, help="the heterogeneity of the clients' classes")
    parser.add_argument("--iid", action="store_true", help="clients of equal size and classes; alpha is ignored")
    parser.add_argument("--seed", type=int, default=271, help="the default's clients have 10 to 1,340 samples")
    args = parser.parse_args()
    workload = build(args.num_samples, args.num_clients, None if args.iid else args.alpha, args.seed)
    workload.save(args.path)
    print(f"{args.path}: clients of {sorted(len(rows) for rows in workload.clients())} samples")


if __name__ == "__main__":
    main()
