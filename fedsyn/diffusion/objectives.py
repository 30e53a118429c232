"""The losses of the autoencoder and of the denoiser, as the federated loop takes them."""

from dataclasses import dataclass

import numpy as np
from diffusers import DDPMScheduler
from torch import Tensor, nn

from fedsyn.data.images import to_input
from fedsyn.models.autoencoder import LatentAutoencoder


@dataclass(frozen=True)
class AutoencoderLoss:
    """Mean squared error of the reconstruction + kl_weight * KL(q(z|x) || N(0, 1)) per latent element.

    Kingma and Welling (2014), with z drawn from q. The batch is (images (B, H, W, C) uint8,); `latent_shape` (c, h, w).
    """

    kl_weight: float
    latent_shape: tuple[int, int, int]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """The standard normal numbers that make z of the posterior."""
        return (rng.standard_normal((count, *self.latent_shape), np.float32),)

    def losses(self, model: LatentAutoencoder, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each image (B,)."""
        images = to_input(batch[0])
        mean, std = model.encode(images)
        kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log())
        error = (model.decode(mean + std * draws[0]) - images).square()
        return error.flatten(1).mean(1) + self.kl_weight * kl.flatten(1).mean(1)


@dataclass(frozen=True)
class DenoisingLoss:
    """E || prediction - target ||^2 at t ~ uniform{0 .. T-1}, labels dropped with probability `label_dropout`.

    The target is the velocity v = a_t e - s_t x (Salimans and Ho, 2022), the noise e, or the sample x, as
    the scheduler's `prediction_type` says. The batch is (latents (B, c, h, w), labels (B,)).
    """

    scheduler: DDPMScheduler
    label_dropout: float
    no_label: int
    latent_shape: tuple[int, ...]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Noise, time steps, and which labels are dropped."""
        noise = rng.standard_normal((count, *self.latent_shape), np.float32)
        timesteps = rng.integers(0, len(self.scheduler.alphas_cumprod), count)
        return noise, timesteps, rng.random(count) < self.label_dropout

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each latent (B,)."""
        latents, labels = batch[0].float(), batch[1]
        noise, timesteps, dropped = draws
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        else:
            target = noise if kind == "epsilon" else latents
        noisy = noisy.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels-last in memory
        prediction = model(noisy, timesteps, class_labels=labels.masked_fill(dropped, self.no_label)).sample
        return (prediction - target).square().flatten(1).mean(1)
