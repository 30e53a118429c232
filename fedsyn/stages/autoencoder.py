"""Step 3a: the autoencoder, by FedAvg over all images, labelled or not; or the user's own, or none."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Autoencoder
from fedsyn.context import Context
from fedsyn.diffusion.objectives import AutoencoderLoss
from fedsyn.federated import privacy
from fedsyn.federated.training import federated_training
from fedsyn.metrics.reconstruction import measure, restore
from fedsyn.models.autoencoder import Codec, LatentAutoencoder, PixelCodec, build_autoencoder
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import clients_by_role, count_clients, history_table

PICTURES = 64
"""Test images that are kept beside their reconstructions."""


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, autoencoder: Autoencoder
) -> dict[str, float]:
    """Writes codec.json (padding and packing), history.parquet (empty where nothing is trained),
    reconstructions.safetensors (test images beside their reconstructions, for the report) and, unless the latents are
    the pixels themselves, vae/ (diffusers' format; a copy where it is the user's own) and latents.json (how the latents
    of the test images are spread).

    Raises:
        ValueError: the user's own autoencoder cannot be read, or does not fit the images.
    """
    info = inputs["dataset"].read_json("info")
    images = inputs["dataset"].read_tensors("images")["images"].to(context.device)
    model = build_autoencoder(autoencoder, info["channels"], info["height"], info["width"]).to(context.device)
    history, metrics = pd.DataFrame(columns=schemas.LOSS_HISTORY.names), {}
    if autoencoder.kind == "kl":
        history = train(model, images, inputs, context, autoencoder, seed)
        metrics = privacy.spent(autoencoder)

    output.write_table("history", history, schemas.LOSS_HISTORY)
    save_autoencoder(output, model, autoencoder.kind)
    test = images[info["num_train"] :]
    pictures = {"original": test[:PICTURES], "reconstruction": restore(model, test[:PICTURES])}
    output.write_tensors("reconstructions", {name: values.cpu() for name, values in pictures.items()})
    if not isinstance(model, LatentAutoencoder):
        return metrics
    measured = asdict(measure(model, test))
    output.write_json("latents", {name: measured.pop(name) for name in ("latent_mean", "latent_std", "posterior_std")})
    return {
        "test_psnr_db": measured["psnr_db"],
        "test_ssim": measured["ssim"],
        "kl_per_element": measured["kl_per_element"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **metrics,
    }


def train(
    model: Codec,
    images: torch.Tensor,
    inputs: Mapping[str, Artifact],
    context: Context,
    settings: Autoencoder,
    seed: int,
) -> pd.DataFrame:
    """Train a fresh autoencoder on all training images, labelled or not. Returns its course."""
    assignments = inputs["partition"].read_table("assignments")
    initialize(model, seed, "autoencoder")
    state = federated_training(
        model,
        clients_by_role(assignments, ["labeled", "calibration", "unlabeled"], (images,)),
        AutoencoderLoss(settings.kl_weight, model.latent_shape),
        settings,
        seed=seed,
        stage="autoencoder",
        execution=context.execution,
        num_clients=count_clients(inputs),
        checkpoints=context.checkpoints,
        after_round=lambda state: context.after_round(state, settings.rounds),
    )
    return history_table(state, schemas.LOSS_HISTORY)


def save_autoencoder(folder: Folder, model: Codec, kind: str) -> None:
    """Writes what `load_autoencoder` reads: codec.json and, where there is a network, vae/."""
    folder.write_json("codec", {"kind": kind, **model.layout()})
    if isinstance(model, LatentAutoencoder):
        model.vae.save_pretrained(folder.root / "vae")


def load_autoencoder(artifact: Artifact) -> Codec:
    """What an artifact of this stage encodes and decodes with."""
    layout = artifact.read_json("codec")
    if layout.pop("kind") == "pixel":
        return PixelCodec(**layout)
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(artifact.root / "vae", use_safetensors=True)  # nothing else is read
    return LatentAutoencoder(vae.to(memory_format=torch.channels_last), **layout)
