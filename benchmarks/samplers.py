"""Quality against time of sampler x steps, for a trained denoiser in a store.

    python benchmarks/samplers.py STORE DENOISER_KEY JUDGE_KEY --images 2000

Whoever chooses by this table must not choose by the test set, so that it stays out. Quality is the Frechet distance
between the synthetic images and half of the training images (10,000 at most), whose class proportions they have, in the
features of the judge: not an FID. `classes right` is the share whose class the judge sees. The last row is the distance
of as many images of the other half: what the best of samplers could reach. A sampler that cannot follow the denoiser's
course is left out. Time is with decoding, on one thread of a CPU, or on --device.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedsyn.artifacts import Artifact, Store
from fedsyn.data.images import to_bytes
from fedsyn.diffusion.sampling import FLOW_SAMPLERS, SAMPLERS, sample_latents
from fedsyn.metrics.features import Network, embed, judge_network
from fedsyn.metrics.frechet import frechet_distance
from fedsyn.models.autoencoder import Codec
from fedsyn.models.denoiser import load_denoiser
from fedsyn.randomness import generator
from fedsyn.stages.autoencoder import load_autoencoder
from fedsyn.stages.classifier import load_classifier

MOST_REFERENCES = 10_000


@dataclass(frozen=True)
class Trained:
    """A denoiser, and all that made it what it is."""

    unet: torch.nn.Module
    schedule: dict
    codec: Codec
    mean: Tensor
    std: Tensor
    info: dict
    images: Tensor
    labels: np.ndarray


def read(store: Store, key: str, device: torch.device) -> Trained:
    """The denoiser of a key, with the latents, the autoencoder and the data set that it was trained on."""
    denoiser = find(store, "denoiser", key)
    latents = find(store, "latents", denoiser.manifest.inputs["latents"].key)
    autoencoder, dataset = (find(store, name, latents.manifest.inputs[name].key) for name in ("autoencoder", "dataset"))
    moments = latents.read_tensors("moments")
    mean, std = (moments[name].to(device)[:, None, None] for name in ("mean", "std"))
    return Trained(
        load_denoiser(denoiser.root / "unet").to(device).eval(),
        denoiser.read_json("scheduler/scheduler_config"),
        load_autoencoder(autoencoder).to(device),
        mean,
        std,
        dataset.read_json("info"),
        dataset.read_tensors("images")["images"],
        dataset.read_table("labels")["label"].to_numpy(np.int64),
    )


def find(store: Store, stage: str, key: str) -> Artifact:
    """An artifact that must be there."""
    artifact = store.find(stage, key)
    if artifact is None:
        raise SystemExit(f"the store {store.root} has no {stage}/{key}")
    return artifact


def draw(trained: Trained, labels: Tensor, batch_size: int, **options: object) -> tuple[Tensor, float]:
    """Images (n, H, W, C) uint8 of these classes, and how many a second. The noise is the same for all options."""
    shape, device = (trained.unet.config.in_channels, *[trained.unet.config.sample_size] * 2), trained.mean.device
    streams = (generator(0, "benchmark", "noise", index=index) for index in range(len(labels)))
    noise = torch.from_numpy(np.stack([stream.standard_normal(shape, np.float32) for stream in streams])).to(device)
    images = []
    began = time.perf_counter()
    for own, classes in zip(noise.split(batch_size), labels.split(batch_size), strict=True):
        latents = sample_latents(trained.unet, trained.schedule, own, classes, **options)  # type: ignore[arg-type]
        with torch.inference_mode():
            images.append(to_bytes(trained.codec.decode(latents * trained.std + trained.mean)).cpu())
    return torch.cat(images), len(labels) / (time.perf_counter() - began)


def rows(trained: Trained, judge: Network, args: argparse.Namespace) -> Iterator[dict]:
    """One row of the table at a time."""
    rng = np.random.default_rng(0)
    reference, others = np.array_split(rng.permutation(trained.info["num_train"]), 2)
    reference, others = reference[:MOST_REFERENCES], others[: args.images]
    device = trained.mean.device
    real = embed(judge, trained.images[torch.from_numpy(reference)], device).features
    classes = torch.from_numpy(rng.choice(trained.labels[reference], args.images))

    def judged(images: Tensor, labels: Tensor) -> dict[str, float]:
        seen = embed(judge, images, device)
        right = seen.probabilities.argmax(1).cpu() == labels
        return {"distance": frechet_distance(real, seen.features), "classes right": float(right.double().mean())}

    followed = SAMPLERS if "prediction_type" in trained.schedule else FLOW_SAMPLERS
    warm = classes[: args.batch_size].to(device)
    draw(trained, warm, args.batch_size, sampler="unipc", steps=2, guidance_scale=args.guidance_scale)
    for sampler in (name for name in args.samplers if name in followed):
        for steps in args.steps:
            guidance = {"guidance_scale": args.guidance_scale, "guidance_interval": tuple(args.guidance_interval)}
            images, rate = draw(trained, classes.to(device), args.batch_size, sampler=sampler, steps=steps, **guidance)
            yield {"sampler": sampler, "steps": steps, "images/s": rate, **judged(images, classes)}
    real_ones = judged(trained.images[torch.from_numpy(others)], torch.from_numpy(trained.labels[others]))
    yield {"sampler": "training images", **real_ones}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("key", help="of the denoiser")
    parser.add_argument("judge", help="the judge's key")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS | FLOW_SAMPLERS))
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8, 12, 20, 50])
    parser.add_argument("--guidance-scale", type=float, default=1.5)
    parser.add_argument("--guidance-interval", type=float, nargs=2, default=(0.0, 1.0))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="a JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(args.store)
    trained = read(store, args.key, torch.device(args.device))
    judge = judge_network(load_classifier(find(store, "judge", args.judge), trained.info).to(trained.mean.device))
    columns = ["sampler", "steps", "images/s", "distance", "classes right"]
    print("| " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * (len(columns) - 1))
    found = []
    for row in rows(trained, judge, args):
        found.append(row)
        cells = (row.get(column, "") for column in columns)
        print(
            "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
            flush=True,
        )
    if args.output:
        settings = {name: str(value) for name, value in vars(args).items()}
        args.output.write_text(json.dumps({"settings": settings, "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
