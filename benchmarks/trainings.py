"""Time a round of each training of a preset (classifier, autoencoder, denoiser) with several engines, in alternation.

    python benchmarks/trainings.py --preset fashion-mnist --engines sequential processes --repeats 5

The images are random: only their number and shape matter here. Each repeat runs every engine for one round, after one
round that is not counted; a figure is the median over repeats.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fedsyn.config import Execution, Experiment, FederatedTraining
from fedsyn.diffusion.objectives import AutoencoderLoss, DenoisingLoss
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.client import Client, group_by_client
from fedsyn.federated.objective import Objective
from fedsyn.federated.training import federated_training
from fedsyn.models.autoencoder import build_autoencoder
from fedsyn.models.classifier import build_classifier
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize
from fedsyn.presets import load_experiment

SIZES = {"digits": (8, 1), "fashion-mnist": (28, 1), "fashion-mnist-full": (28, 1), "cifar10-paper": (32, 3)}
NUM_SAMPLES, NUM_CLASSES = 2000, 10

Problem = tuple[nn.Module, list[Client], Objective]


def problems(
    experiment: Experiment, size: int, channels: int
) -> dict[str, tuple[FederatedTraining, Callable[[], Problem]]]:
    """Each training's settings, and what makes its model, clients and objective."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (NUM_SAMPLES, size, size, channels), np.uint8))
    labels = torch.from_numpy(rng.integers(0, NUM_CLASSES, NUM_SAMPLES))
    owners, rows = np.arange(NUM_SAMPLES) % experiment.partition.num_clients, np.arange(NUM_SAMPLES)
    shape = build_autoencoder(experiment.autoencoder, channels, size, size).latent_shape
    latents = torch.from_numpy(rng.standard_normal((NUM_SAMPLES, *shape), np.float32)).half()

    def classifier() -> Problem:
        model = build_classifier(experiment.classifier, channels, size, size, NUM_CLASSES)
        objective = CrossEntropy(experiment.classifier.augmentation, size)
        return model, group_by_client(owners, rows, (images, labels)), objective

    def autoencoder() -> Problem:
        model = build_autoencoder(experiment.autoencoder, channels, size, size)
        objective = AutoencoderLoss(experiment.autoencoder.kl_weight, model.latent_shape)
        return model, group_by_client(owners, rows, (images,)), objective

    def denoiser() -> Problem:
        model = build_denoiser(experiment.denoiser, shape[0], shape[1], NUM_CLASSES)
        scheduler = noise_scheduler(experiment.denoiser)
        objective = DenoisingLoss(scheduler, experiment.denoiser.label_dropout, NUM_CLASSES, shape)
        return model, group_by_client(owners, rows, (latents, labels)), objective

    return {
        "classifier": (experiment.classifier, classifier),
        "autoencoder": (experiment.autoencoder, autoencoder),
        "denoiser": (experiment.denoiser, denoiser),
    }


def seconds_a_round(problem: Problem, settings: FederatedTraining, execution: Execution) -> float:
    """The second of two rounds: in the first, workers arrive."""
    model, clients, objective = problem
    initialize(model, 0, "benchmark")
    moments: list[float] = []
    federated_training(
        model,
        clients,
        objective,
        settings.model_copy(update={"rounds": 2}),
        seed=0,
        stage="benchmark",
        execution=execution,
        after_round=lambda state: moments.append(time.perf_counter()),
    )
    return moments[1] - moments[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fashion-mnist", choices=SIZES)
    parser.add_argument("--engines", nargs="+", default=["sequential", "processes"])
    parser.add_argument("--fraction", type=float, help="client_fraction instead of the preset's")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(args.preset)
    print("| training | clients a round | " + " | ".join(f"{engine}, s" for engine in args.engines) + " | ratio |")
    print("| --- | ---: |" + " ---: |" * len(args.engines) + " ---: |")
    for name, (settings, make) in problems(experiment, *SIZES[args.preset]).items():
        chosen = settings.model_copy(update={"client_fraction": args.fraction} if args.fraction else {})
        times: dict[str, list[float]] = {engine: [] for engine in args.engines}
        for _ in range(args.repeats):
            for engine in args.engines:
                times[engine].append(seconds_a_round(make(), chosen, Execution(engine=engine, workers=2)))
        medians = [statistics.median(own) for own in times.values()]
        cohort = round(chosen.client_fraction * experiment.partition.num_clients)
        figures = " | ".join(f"{median:.2f}" for median in medians)
        print(f"| {name} | {cohort} | {figures} | {medians[0] / medians[-1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
