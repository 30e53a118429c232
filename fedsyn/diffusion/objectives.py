"""The losses of the autoencoder and of the denoiser, as the federated loop takes them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from fedsyn.config import Denoiser
from fedsyn.data.images import to_input
from fedsyn.models.autoencoder import Codec

Second = Literal["mirrored", "std"]
"""What a latent may come with: the mirror image's latent, or the deviation of the distribution whose mean it is."""


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) of each element."""
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log())


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

    def losses(self, model: Codec, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each image (B,)."""
        images = to_input(batch[0])
        mean, std = model.encode(images)
        kl = kl_divergence(mean, std)
        error = (model.decode(mean + std * draws[0]) - images).square()
        return error.flatten(1).mean(1) + self.kl_weight * kl.flatten(1).mean(1)


@dataclass(frozen=True)
class DenoisingLoss:
    """E w_t || prediction - target ||^2 at t ~ uniform{0 .. T-1}, labels dropped with probability `label_dropout`.

    The target is the velocity v = a_t e - s_t x (Salimans and Ho, 2022), the noise e, or the sample x, as
    the scheduler's `prediction_type` says; w_t is 1, or min-SNR's with `min_snr_gamma`. The batch is (latents
    (B, c, h, w), labels (B,)) and, where latents have a `second` tensor, that one (B, c, h, w).
    """

    scheduler: DDPMScheduler
    label_dropout: float
    no_label: int
    latent_shape: tuple[int, ...]
    second: Second | None = None
    min_snr_gamma: float | None = None

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Noise, time steps, which labels are dropped, and what the second tensor asks for."""
        noise = rng.standard_normal((count, *self.latent_shape), np.float32)
        timesteps = rng.integers(0, len(self.scheduler.alphas_cumprod), count)
        dropped = rng.random(count) < self.label_dropout
        return noise, timesteps, dropped, *draw_second(self.second, count, self.latent_shape, rng)

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each latent (B,)."""
        latents = with_second(self.second, batch, draws[3:])
        noise, timesteps, dropped = draws[:3]
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        else:
            target = noise if kind == "epsilon" else latents
        prediction = predict(model, noisy, timesteps, batch[1].masked_fill(dropped, self.no_label))
        losses = (prediction - target).square().flatten(1).mean(1)
        if self.min_snr_gamma is None:
            return losses
        weights = min_snr_weights(self.scheduler.alphas_cumprod, kind, self.min_snr_gamma)  # (T,)
        return weights.to(losses.device)[timesteps] * losses


@dataclass(frozen=True)
class FlowMatchingLoss:
    """E || prediction - (e - x) ||^2 at x_s = (1 - s) x + s e with s ~ uniform[0, 1), labels dropped as above.

    Flow matching along straight lines from the image x to the noise e (Lipman et al., 2023; Liu et al., 2023). The
    model is told the time s T, T being the scheduler's `num_train_timesteps`. The batch is `DenoisingLoss`'s.
    """

    scheduler: FlowMatchEulerDiscreteScheduler
    label_dropout: float
    no_label: int
    latent_shape: tuple[int, ...]
    second: Second | None = None

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Noise, the place s on the line, which labels are dropped, and what the second tensor asks for."""
        noise = rng.standard_normal((count, *self.latent_shape), np.float32)
        places, dropped = rng.random(count, np.float32), rng.random(count) < self.label_dropout
        return noise, places, dropped, *draw_second(self.second, count, self.latent_shape, rng)

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each latent (B,)."""
        latents = with_second(self.second, batch, draws[3:])
        noise, places, dropped = draws[:3]
        noisy = torch.lerp(latents, noise, places[:, None, None, None])
        times = places * self.scheduler.config.num_train_timesteps
        prediction = predict(model, noisy, times, batch[1].masked_fill(dropped, self.no_label))
        return (prediction - (noise - latents)).square().flatten(1).mean(1)


def denoising_loss(
    settings: Denoiser,
    scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler,
    no_label: int,
    latent_shape: tuple[int, ...],
    second: Second | None = None,
) -> DenoisingLoss | FlowMatchingLoss:
    """The loss that `settings` ask for, over the course of its scheduler."""
    if settings.prediction == "flow":
        return FlowMatchingLoss(scheduler, settings.label_dropout, no_label, latent_shape, second)
    return DenoisingLoss(
        scheduler, settings.label_dropout, no_label, latent_shape, second, min_snr_gamma=settings.min_snr_gamma
    )


def min_snr_weights(alphas_cumprod: Tensor, kind: str, gamma: float) -> Tensor:
    """The weight of each time step's loss, (T,): min(SNR, gamma) of the sample's error (Hang et al., 2023).

    With SNR = a^2 / s^2, an error of the noise counts min(SNR, gamma) / SNR, one of the velocity min(SNR, gamma) /
    (SNR + 1): both are the same error of the sample.
    """
    snr = alphas_cumprod / (1 - alphas_cumprod)
    scale = {"sample": torch.ones_like(snr), "epsilon": snr, "v_prediction": snr + 1}[kind]
    return snr.clamp(max=gamma) / scale


def draw_second(
    second: Second | None, count: int, latent_shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Which latents are shown mirrored, one half; or the standard normal numbers that make z of a distribution."""
    if second == "mirrored":
        return (rng.random(count) < 0.5,)
    return (rng.standard_normal((count, *latent_shape), np.float32),) if second == "std" else ()


def with_second(second: Second | None, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
    """The latents that are trained on, (B, c, h, w) float32; `draws`: of `draw_second`."""
    latents = batch[0].float()
    if second == "mirrored":
        return torch.where(draws[0][:, None, None, None], batch[2].float(), latents)
    return latents + batch[2].float() * draws[0] if second == "std" else latents


def predict(model: nn.Module, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
    """The denoiser's answer, (B, c, h, w)."""
    noisy = noisy.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels-last in memory
    prediction: Tensor = model(noisy, times, class_labels=labels).sample
    return prediction
