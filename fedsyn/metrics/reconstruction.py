"""How well an autoencoder gives images back, and how its latents are spread."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from fedsyn import interruption
from fedsyn.data.images import to_bytes, to_input
from fedsyn.diffusion.moments import client_sums
from fedsyn.diffusion.objectives import kl_divergence
from fedsyn.models.autoencoder import Codec


@dataclass(frozen=True)
class Reconstruction:
    """Over all images that were measured."""

    psnr_db: float
    """Peak signal-to-noise ratio of the mean squared error, in dB; infinite where nothing is lost."""
    ssim: float
    """Mean structural similarity, 1 where nothing is lost."""
    kl_per_element: float
    """Mean Kullback-Leibler divergence of the posterior from N(0, 1), nats per latent element."""
    latent_mean: list[float]
    latent_std: list[float]
    """Of the posterior's means, per channel."""
    posterior_std: list[float]
    """Root mean square of the posterior's own deviations, per channel: one near `latent_std` says that the channel
    tells images apart no better than its noise allows."""


@torch.inference_mode()
def measure(model: Codec, images: Tensor, batch_size: int = 250) -> Reconstruction:
    """Images (n, H, W, C) uint8 through the autoencoder and back, as bytes, batch by batch.

    Raises:
        Interrupted: a signal asked to stop.
    """
    channels = model.latent_shape[0]
    squares = similarity = kl = 0.0
    sums = torch.zeros(3, channels, dtype=torch.float64, device=images.device)
    spread = torch.zeros_like(sums)
    for batch in images.split(batch_size):
        interruption.check()
        mean, std = model.encode(to_input(batch))
        restored = to_bytes(model.decode(mean))
        squares += float((restored.float() - batch.float()).square().double().sum())
        similarity += float(structural_similarity(batch, restored).double().sum())
        kl += float(kl_divergence(mean, std).double().sum())
        sums += client_sums(mean)
        spread += client_sums(std)
    count, total, power = sums
    return Reconstruction(
        psnr_db=float(-10 * torch.tensor(squares / images.numel() / 255**2, dtype=torch.float64).log10()),
        ssim=similarity / len(images),
        kl_per_element=kl / float(count.sum()),
        latent_mean=(total / count).tolist(),
        latent_std=(power / count - (total / count).square()).clamp(min=0).sqrt().tolist(),
        posterior_std=(spread[2] / count).sqrt().tolist(),
    )


@torch.inference_mode()
def restore(model: Codec, images: Tensor) -> Tensor:
    """Images (B, H, W, C) uint8 through the autoencoder and back."""
    return to_bytes(model.decode(model.encode(to_input(images))[0]))


def structural_similarity(images: Tensor, others: Tensor) -> Tensor:
    """SSIM of each pair of images (B, H, W, C) uint8, (B,), over the windows inside the image (Wang et al., 2004).

    The window is theirs, 11 x 11 pixels weighted by a Gaussian of 1.5; where the image is smaller, the largest of odd
    size that fits, its Gaussian as much smaller; NaN below 3 x 3 pixels, where none does.
    """
    half = min(5, (min(images.shape[1:3]) - 1) // 2)
    if half < 1:
        return torch.full((len(images),), torch.nan, device=images.device)
    first, second = (each.permute(0, 3, 1, 2).float() for each in (images, others))
    _, windows = structural_similarity_index_measure(
        first, second, sigma=0.3 * half, data_range=255.0, reduction="none", return_full_image=True
    )  # (B, C, H, W), a window round each pixel: those round the border's reach out of the image
    return windows[..., half:-half, half:-half].flatten(1).mean(1)
