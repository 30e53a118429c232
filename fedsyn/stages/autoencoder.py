"""Step 3a: the autoencoder, by FedAvg over all images, labelled or not; or principal components, the user's own, or
none."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
import torch

from fedsyn import interruption, schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Autoencoder
from fedsyn.context import Context
from fedsyn.data.images import to_input
from fedsyn.diffusion.objectives import AutoencoderLoss
from fedsyn.diffusion.principal_components import client_products, principal_components
from fedsyn.federated import privacy
from fedsyn.federated.training import federated_training
from fedsyn.metrics.reconstruction import measure, restore
from fedsyn.models.autoencoder import Codec, LatentAutoencoder, LinearCodec, PixelCodec, build_autoencoder
from fedsyn.models.initialize import initialize
from fedsyn.models.linear_autoencoder import LinearAutoencoder
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
    elif isinstance(model, LinearCodec):
        find_components(model, images, inputs)

    output.write_table("history", history, schemas.LOSS_HISTORY)
    save_autoencoder(output, model, autoencoder.kind)
    test = images[info["num_train"] :]
    pictures = {"original": test[:PICTURES], "reconstruction": restore(model, test[:PICTURES])}
    output.write_tensors("reconstructions", {name: values.cpu() for name, values in pictures.items()})
    if isinstance(model, PixelCodec):
        return metrics
    measured = asdict(measure(model, test))
    if isinstance(model, LatentAutoencoder):
        metrics = {"kl_per_element": measured["kl_per_element"], **metrics}
    output.write_json("latents", {name: measured.pop(name) for name in ("latent_mean", "latent_std", "posterior_std")})
    return {
        "test_psnr_db": measured["psnr_db"],
        "test_ssim": measured["ssim"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **metrics,
    }


def find_components(model: LinearCodec, images: torch.Tensor, inputs: Mapping[str, Artifact]) -> None:
    """Set `model` to the principal components of all training images, labelled or not."""
    assignments = inputs["partition"].read_table("assignments")
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for client in clients_by_role(assignments, ["labeled", "calibration", "unlabeled"], (images,)):
        interruption.check()
        own = client_products(model.pad(to_input(images[client.indices])))
        count, total, products = count + own[0], total + own[1], products + own[2]
    mean, directions = principal_components(count, total, products, model.vae.config.components)
    with torch.no_grad():
        model.vae.mean.copy_(mean)
        model.vae.directions.copy_(directions)


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
    if isinstance(model, LatentAutoencoder | LinearCodec):
        model.vae.save_pretrained(folder.root / "vae")


def load_autoencoder(artifact: Artifact) -> Codec:
    """What an artifact of this stage encodes and decodes with."""
    layout = artifact.read_json("codec")
    kind = layout.pop("kind")
    if kind == "pixel":
        return PixelCodec(**layout)
    if kind == "linear":
        vae = LinearAutoencoder.from_pretrained(artifact.root / "vae", use_safetensors=True)
        return LinearCodec(vae, layout["height"], layout["width"], layout["padded"])
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(artifact.root / "vae", use_safetensors=True)  # nothing else is read
    return LatentAutoencoder(vae.to(memory_format=torch.channels_last), **layout)
