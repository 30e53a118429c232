"""Step 3a: the autoencoder, by FedAvg over all images, labelled or not."""

from collections.abc import Mapping

import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Autoencoder
from fedsyn.context import Context
from fedsyn.data.images import to_bytes, to_input
from fedsyn.diffusion.objectives import AutoencoderLoss
from fedsyn.federated import privacy
from fedsyn.federated.training import federated_training
from fedsyn.models.autoencoder import LatentAutoencoder, build_autoencoder
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import clients_by_role, count_clients, history_table


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, autoencoder: Autoencoder
) -> dict[str, float]:
    """Writes vae/ (diffusers' format), codec.json (padding and packing around it), history.parquet and
    reconstructions.safetensors (test images beside their reconstructions, for the report)."""
    info = inputs["dataset"].read_json("info")
    images = inputs["dataset"].read_tensors("images")["images"].to(context.device)
    assignments = inputs["partition"].read_table("assignments")
    clients = clients_by_role(assignments, ["labeled", "calibration", "unlabeled"], (images,))

    model = build_autoencoder(autoencoder, info["channels"], info["height"], info["width"]).to(context.device)
    initialize(model, seed, "autoencoder")

    state = federated_training(
        model,
        clients,
        AutoencoderLoss(autoencoder.kl_weight, model.latent_shape),
        autoencoder,
        seed=seed,
        stage="autoencoder",
        execution=context.execution,
        num_clients=count_clients(inputs),
        checkpoints=context.checkpoints,
        after_round=lambda state: context.after_round(state, autoencoder.rounds),
    )

    model.vae.save_pretrained(output.root / "vae")
    codec = {
        "height": model.height,
        "width": model.width,
        "padded": model.padded,
        "unshuffle": model.unshuffle,
    }
    output.write_json("codec", codec)
    output.write_table("history", history_table(state, schemas.LOSS_HISTORY), schemas.LOSS_HISTORY)
    test = torch.from_numpy(assignments.loc[assignments["role"] == "test", "sample_id"].to_numpy()[:500].copy())
    originals = images[test.to(context.device)]
    restored = torch.cat([reconstruct(model, part) for part in originals.split(100)])
    error = (restored.float() - originals.float()).square().mean() / 255**2
    pictures = {"original": originals[:64].cpu(), "reconstruction": restored[:64].cpu()}
    output.write_tensors("reconstructions", pictures)
    return {
        "test_psnr_db": float(-10 * error.log10()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **privacy.spent(autoencoder),
    }


@torch.inference_mode()
def reconstruct(model: LatentAutoencoder, images: torch.Tensor) -> torch.Tensor:
    """Images (B, H, W, C) uint8 through the autoencoder and back."""
    return to_bytes(model.decode(model.encode(to_input(images))[0]))


def load_autoencoder(artifact: Artifact) -> LatentAutoencoder:
    """The trained autoencoder of an artifact of this stage."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(artifact.root / "vae", use_safetensors=True)  # nothing else is read
    return LatentAutoencoder(vae.to(memory_format=torch.channels_last), **artifact.read_json("codec"))
