"""Step 3c: the class-conditional denoiser, by FedAvg over D_k^l + D_k^p."""

from collections.abc import Mapping
from typing import get_args

import numpy as np
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Denoiser
from fedsyn.context import Context
from fedsyn.diffusion.objectives import Second, denoising_loss
from fedsyn.federated import privacy
from fedsyn.federated.client import group_by_client
from fedsyn.federated.training import federated_training
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import believed_samples, count_clients, history_table


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, denoiser: Denoiser
) -> dict[str, float]:
    """Writes unet/ and scheduler/ (diffusers' formats; the weights are the server's moving average where there is
    one) and history.parquet."""
    encoded = inputs["latents"].read_tensors("latents")
    latents = encoded["latents"].to(context.device)
    second = next((name for name in get_args(Second) if name in encoded), None)
    num_classes = len(inputs["selection"].read_table("precision"))
    believed = believed_samples(inputs)
    labels = np.full(len(latents), -1, dtype=np.int64)
    labels[believed["sample_id"]] = believed["label"]
    shown = (encoded[second].to(context.device),) if second else ()
    tensors = (latents, torch.from_numpy(labels).to(context.device), *shown)
    clients = group_by_client(believed["client_id"].to_numpy(), believed["sample_id"].to_numpy(), tensors)

    model = build_denoiser(denoiser, latents.shape[1], latents.shape[2], num_classes).to(context.device)
    initialize(model, seed, "denoiser")
    scheduler = noise_scheduler(denoiser)

    state = federated_training(
        model,
        clients,
        denoising_loss(denoiser, scheduler, num_classes, tuple(latents.shape[1:]), second),
        denoiser,
        seed=seed,
        stage="denoiser",
        execution=context.execution,
        num_clients=count_clients(inputs),
        checkpoints=context.checkpoints,
        after_round=lambda state: context.after_round(state, denoiser.rounds),
    )
    model.save_pretrained(output.root / "unet")
    scheduler.save_pretrained(output.root / "scheduler")
    output.write_table("history", history_table(state, schemas.LOSS_HISTORY), schemas.LOSS_HISTORY)
    return {
        "train_loss": state.history[-1]["train_loss"],
        "training_images": len(believed),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **privacy.spent(denoiser),
    }
