"""Step 3b: every training image encoded once, standardised with federated moments."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedsyn import interruption
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Latents
from fedsyn.context import Context
from fedsyn.data.images import to_input
from fedsyn.diffusion.moments import client_sums, mean_and_std
from fedsyn.models.autoencoder import Codec
from fedsyn.stages.autoencoder import load_autoencoder

BATCH_SIZE = 256


@torch.inference_mode()
def run(inputs: Mapping[str, Artifact], output: Folder, context: Context, *, latents: Latents) -> dict[str, float]:
    """Writes latents.safetensors: standardised means of the posterior, (num_train, c, h, w) float16, rows are sample
    ids, and beside them in the same shape what `latents.augmentation` asks for: `mirrored`, those of the mirror
    images, or `std`, the posterior's deviations; and moments.safetensors: mean and standard deviation per channel,
    (c,) float32, of all that the denoiser may be shown.

    Raises:
        ValueError: the autoencoder has collapsed or exploded.
    """
    images = inputs["dataset"].read_tensors("images")["images"]
    num_train = inputs["dataset"].read_json("info")["num_train"]
    assignments = inputs["partition"].read_table("assignments")
    model = load_autoencoder(inputs["autoencoder"]).to(context.device)

    parts: dict[str, list[Tensor]] = {}
    for start in range(0, num_train, BATCH_SIZE):
        interruption.check()
        stop = min(start + BATCH_SIZE, num_train)
        for name, values in encode(model, to_input(images[start:stop].to(context.device)), latents).items():
            parts.setdefault(name, []).append(values.cpu().contiguous())
        context.progress(stop, num_train, "images")
    encoded = {name: torch.cat(values) for name, values in parts.items()}

    clients = assignments[assignments["role"] != "test"].groupby("client_id")["sample_id"]
    sums = [sums_of(encoded, torch.tensor(own.to_numpy())) for _, own in clients]
    added = torch.stack(sums).sum(0)
    kind = {"learned": model.learned, "one_scale": model.one_scale}
    mean, std = (moment.float() for moment in mean_and_std(added, **kind))
    standardised = {
        name: (values if name == "std" else values - mean[:, None, None]) / std[:, None, None]
        for name, values in encoded.items()
    }
    output.write_tensors("latents", {name: values.half() for name, values in standardised.items()})
    output.write_tensors("moments", {"mean": mean, "std": std})
    return {"latent_elements": encoded["latents"][0].numel(), "image_elements": images[0].numel()}


def encode(model: Codec, images: Tensor, settings: Latents) -> dict[str, Tensor]:
    """What the denoiser may be shown of images (B, C, H, W): latents, and their second tensor where it is asked for."""
    mean, std = model.encode(images)
    if settings.augmentation == "flip":
        return {"latents": mean, "mirrored": model.encode(images.flip(-1))[0]}
    return {"latents": mean, "std": std} if settings.augmentation == "posterior" else {"latents": mean}


def sums_of(encoded: Mapping[str, Tensor], own: Tensor) -> Tensor:
    """Client side: the moments' sums (3, c) over a client's rows `own`, mirror images and spread included."""
    sums = client_sums(encoded["latents"][own], encoded["std"][own] if "std" in encoded else None)
    return sums + client_sums(encoded["mirrored"][own]) if "mirrored" in encoded else sums
