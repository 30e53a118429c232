"""What checkpoints cost a training of a preset: off, at the default pace, after every round, in alternation.

    python benchmarks/checkpointing.py --preset fashion-mnist --trainings autoencoder denoiser --rounds 20 --repeats 3

    python benchmarks/checkpointing.py --once        # only what writing one checkpoint takes

The images are random: only their number and shape matter here. "Kept" is the share of a training's time that went into
writing checkpoints; "ratio" is a training's time over that without them, medians over repeats.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from trainings import SIZES, Problem, problems

from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.config import FederatedTraining
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.initialize import initialize
from fedsyn.presets import load_experiment

PACES = {"off": None, "default": Pace(), "every round": Pace(rounds=1)}


class Timed(Checkpoints):
    """Checkpoints that know what they cost."""

    seconds, bytes = 0.0, 0

    def save(self, *arguments: object) -> None:
        began = time.perf_counter()
        super().save(*arguments)  # type: ignore[arg-type]
        self.seconds += time.perf_counter() - began
        self.bytes = sum(path.stat().st_size for path in self.folder.iterdir())


def train(problem: Problem, settings: FederatedTraining, pace: Pace | None) -> tuple[float, float, int]:
    """Seconds of a training, seconds of them in checkpoints, and bytes of the last one."""
    model, clients, objective = problem
    initialize(model, 0, "benchmark")
    with tempfile.TemporaryDirectory(dir="benchmarks") as folder:  # a disk, not memory
        checkpoints = None if pace is None else Timed(Path(folder), pace)
        began = time.perf_counter()
        federated_training(model, clients, objective, settings, seed=0, stage="benchmark", checkpoints=checkpoints)
        seconds = time.perf_counter() - began
        return (seconds, 0.0, 0) if checkpoints is None else (seconds, checkpoints.seconds, checkpoints.bytes)


def write(problem: Problem, settings: FederatedTraining, repeats: int = 7) -> tuple[float, int]:
    """Median seconds that writing one checkpoint takes, flushed to the disk, and its bytes."""
    weights = torch.cat([parameter.detach().flatten() for parameter in problem[0].parameters()])
    state = TrainingState(weights, torch.zeros(0), weights.clone() if settings.ema_decay else None)
    with tempfile.TemporaryDirectory(dir="benchmarks") as folder:
        checkpoints, times = Timed(Path(folder)), []
        for round_index in range(repeats):
            began = time.perf_counter()
            checkpoints.save(0, round_index + 1, "safetensors", state.save)
            times.append(time.perf_counter() - began)
        return statistics.median(times), checkpoints.bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fashion-mnist", choices=SIZES)
    parser.add_argument("--trainings", nargs="+", default=["classifier", "autoencoder", "denoiser"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="time the writing of one checkpoint, and train nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.once:
        print("| training | checkpoint, MB | one checkpoint, ms | share of 30 s |")
        print("| --- | ---: | ---: | ---: |")
        for name, (settings, make) in problems(load_experiment(args.preset), *SIZES[args.preset]).items():
            seconds, size = write(make(), settings)
            print(f"| {name} | {size / 1e6:.1f} | {1000 * seconds:.0f} | {seconds / 30:.2%} |")
        return
    print("| training | checkpoint, MB | pace | seconds | kept | ratio |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    known = problems(load_experiment(args.preset), *SIZES[args.preset])
    for name in args.trainings:
        settings, make = known[name]
        chosen = settings.model_copy(update={"rounds": args.rounds})
        runs: dict[str, list[tuple[float, float, int]]] = {label: [] for label in PACES}
        for _ in range(args.repeats):
            for label, pace in PACES.items():
                runs[label].append(train(make(), chosen, pace))
        without = statistics.median(seconds for seconds, _, _ in runs["off"])
        for label, own in runs.items():
            seconds = statistics.median(run[0] for run in own)
            kept = statistics.median(run[1] / run[0] for run in own)
            size = f"{own[0][2] / 1e6:.1f}"
            print(f"| {name} | {size} | {label} | {seconds:.1f} | {kept:.2%} | {seconds / without:.3f} |", flush=True)


if __name__ == "__main__":
    main()
