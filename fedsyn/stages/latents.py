"""Step 3b: every training image encoded once, standardised with federated moments."""

from collections.abc import Mapping

import torch

from fedsyn import interruption
from fedsyn.artifacts import Artifact, Folder
from fedsyn.context import Context
from fedsyn.data.images import to_input
from fedsyn.diffusion.moments import client_sums, mean_and_std
from fedsyn.stages.autoencoder import load_autoencoder

BATCH_SIZE = 256


@torch.inference_mode()
def run(inputs: Mapping[str, Artifact], output: Folder, context: Context) -> dict[str, float]:
    """Writes latents.safetensors: standardised means of the posterior, (num_train, c, h, w) float16, rows are sample
    ids; and moments.safetensors: mean and standard deviation per channel, (c,) float32."""
    images = inputs["dataset"].read_tensors("images")["images"]
    num_train = inputs["dataset"].read_json("info")["num_train"]
    assignments = inputs["partition"].read_table("assignments")
    model = load_autoencoder(inputs["autoencoder"]).to(context.device)

    encoded = []
    for start in range(0, num_train, BATCH_SIZE):
        interruption.check()
        batch = to_input(images[start : min(start + BATCH_SIZE, num_train)].to(context.device))
        encoded.append(model.encode(batch)[0].cpu().contiguous())
        context.progress(min(start + BATCH_SIZE, num_train), num_train, "images")
    latents = torch.cat(encoded)

    clients = assignments[assignments["role"] != "test"].groupby("client_id")["sample_id"]
    sums = [client_sums(latents[torch.tensor(own.to_numpy())]) for _, own in clients]
    mean, std = (moment.float() for moment in mean_and_std(torch.stack(sums).sum(0)))
    standardised = (latents - mean[:, None, None]) / std[:, None, None]
    output.write_tensors("latents", {"latents": standardised.half()})
    output.write_tensors("moments", {"mean": mean, "std": std})
    return {"latent_elements": latents[0].numel(), "image_elements": images[0].numel()}
