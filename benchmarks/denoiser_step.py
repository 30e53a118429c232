"""Time a training step of the denoiser: our federated loop against the loop of diffusers' own training example.

    python benchmarks/denoiser_step.py benchmarks/results/denoiser_step.json

Same U-Net, latents, batch size and optimiser (AdamW, gradients clipped to a norm of 1), one client, one thread. The
example's loop is that of diffusers' examples/unconditional_image_generation/train_unconditional.py, with the labels
that our U-Net takes and without accelerate and EMA: a DataLoader, noise, `add_noise`, the model, the mean squared
error, `backward`, clip, AdamW, a cosine learning rate. It runs in PyTorch's default layout, as it is written, and once
more in ours (channels-last). Each repeat runs every loop once, in turn; a figure is the median over repeats, a ratio
that of the medians.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch.utils.data import DataLoader, TensorDataset
from trainings import NUM_CLASSES, SIZES

from fedsyn.config import Denoiser
from fedsyn.diffusion.objectives import denoising_loss
from fedsyn.federated.client import Client
from fedsyn.federated.training import federated_training
from fedsyn.models.autoencoder import build_autoencoder
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize
from fedsyn.presets import load_experiment

Shape = tuple[int, int, int]


def fedsyn(settings: Denoiser, shape: Shape, latents: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Seconds a step of the second of two rounds: the first pays for what is built once."""
    model = build_denoiser(settings, shape[0], shape[1], NUM_CLASSES)
    initialize(model, 0, "benchmark")
    objective = denoising_loss(settings, noise_scheduler(settings), NUM_CLASSES, shape)
    moments: list[float] = []
    federated_training(
        model,
        [Client(0, (latents, labels), torch.arange(len(latents)))],
        objective,
        settings.model_copy(update={"rounds": 2, "local_steps": steps, "client_fraction": 1.0}),
        seed=0,
        stage="benchmark",
        after_round=lambda state: moments.append(time.perf_counter()),
    )
    return (moments[1] - moments[0]) / steps


def diffusers(
    settings: Denoiser,
    shape: Shape,
    latents: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> float:
    """Seconds a step of the example's loop, the first `steps` of which are not counted."""
    model = build_denoiser(settings, shape[0], shape[1], NUM_CLASSES)
    initialize(model, 0, "benchmark")
    model = model.to(memory_format=memory_format).train()
    scheduler = noise_scheduler(settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rate = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=0, num_training_steps=2 * steps)
    loader = DataLoader(TensorDataset(latents, labels), batch_size=settings.batch_size, shuffle=True, drop_last=True)
    done, began = 0, 0.0
    while True:
        for clean, classes in loader:
            if done == steps:
                began = time.perf_counter()
            clean = clean.float().to(memory_format=memory_format)
            noise = torch.randn_like(clean)
            timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),)).long()
            noisy = scheduler.add_noise(clean, noise, timesteps)
            classes = classes.masked_fill(torch.rand(len(classes)) < settings.label_dropout, NUM_CLASSES)
            prediction = model(noisy, timesteps, class_labels=classes).sample
            loss = F.mse_loss(prediction, scheduler.get_velocity(clean, noise, timesteps))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
            loss.item()  # the example logs it after every step
            done += 1
            if done == 2 * steps:
                return (time.perf_counter() - began) / steps


def measure(preset: str, steps: int, repeats: int) -> dict:
    """The times of every loop, in seconds a step, and what they were taken with."""
    experiment, (size, channels) = load_experiment(preset), SIZES[preset]
    shape = build_autoencoder(experiment.autoencoder, channels, size, size).latent_shape
    settings = experiment.denoiser.model_copy(update={"gradient_clip": 1.0})
    rng, count = np.random.default_rng(0), settings.batch_size * steps
    latents = torch.from_numpy(rng.standard_normal((count, *shape), np.float32)).half()
    labels = torch.from_numpy(rng.integers(0, NUM_CLASSES, count))
    loops: dict[str, Callable[..., float]] = {
        "diffusers' example": diffusers,
        "diffusers' example, channels-last": partial(diffusers, memory_format=torch.channels_last),
        "fedsyn": fedsyn,
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            times[name].append(loop(settings, shape, latents, labels, steps))
    return {
        "preset": preset,
        "latent": shape,
        "channels": settings.channels,
        "batch_size": settings.batch_size,
        "steps": steps,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "versions": {name: version(name) for name in ("torch", "diffusers", "fedsyn")},
        "seconds": {name: [round(seconds, 5) for seconds in own] for name, own in times.items()},
    }


def table(result: dict) -> str:
    """The medians as a table in Markdown."""
    medians = {name: statistics.median(own) for name, own in result["seconds"].items()}
    reference = medians["diffusers' example"]
    rows = [
        f"| {name} | {1000 * median:.1f} | {1000 * min(result['seconds'][name]):.1f} | {median / reference:.3f} |"
        for name, median in medians.items()
    ]
    return "\n".join(["| loop | a step, ms | fastest, ms | ratio |", "| --- | ---: | ---: | ---: |", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", help="a JSON file to write")
    parser.add_argument("--preset", default="fashion-mnist", choices=SIZES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(args.preset, args.steps, args.repeats)
    print(table(result))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
