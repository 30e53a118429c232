"""The losses of the autoencoder and of the denoiser, as the federated loop takes them."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor, nn

from fedsyn.data.images import to_input
from fedsyn.federated.averaging import Objective
from fedsyn.models.autoencoder import LatentAutoencoder


def autoencoder_loss(kl_weight: float) -> Objective:
    """Mean squared error of the reconstruction + kl_weight * KL(q(z|x) || N(0, 1)) per latent element.

    Kingma and Welling (2014), with z drawn from q by the batch's generator. The batch is (images,), bytes.
    """

    def objective(model: LatentAutoencoder, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        images = to_input(batch[0])
        mean, std = model.encode(images)
        latents = mean + std * standard_normal(mean.shape, rng, mean.device)
        kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log())
        return F.mse_loss(model.decode(latents), images) + kl_weight * kl.mean()

    return objective


def denoising_loss(scheduler: DDPMScheduler, label_dropout: float, no_label: int) -> Objective:
    """E || prediction - target ||^2 at t ~ uniform{0 .. T-1}, labels dropped with probability `label_dropout`.

    The target is the velocity v = a_t e - s_t x (Salimans and Ho, 2022), the noise e, or the sample x, as
    the scheduler's `prediction_type` says. The batch is (latents (B, c, h, w), labels (B,)).
    """

    def objective(model: nn.Module, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        latents, labels = batch[0].float(), batch[1]
        count, device = len(latents), latents.device
        noise = standard_normal(latents.shape, rng, device)
        timesteps = torch.from_numpy(rng.integers(0, len(scheduler.alphas_cumprod), count)).to(device)
        dropped = torch.from_numpy(rng.random(count) < label_dropout).to(device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        kind = scheduler.config.prediction_type
        if kind == "v_prediction":
            target = scheduler.get_velocity(latents, noise, timesteps)
        else:
            target = noise if kind == "epsilon" else latents
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        prediction = model(noisy, timesteps, class_labels=labels.masked_fill(dropped, no_label)).sample
        return F.mse_loss(prediction, target)

    return objective


def standard_normal(shape: torch.Size, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers of `shape`, drawn on the host, on `device`."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), np.float32)).to(device)
