"""The KL-regularised autoencoder: space-to-depth, then diffusers' AutoencoderKL."""

import math

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from fedsyn.config import Autoencoder


class LatentAutoencoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] <-> latents (B, latent_channels, h, w).

    Images are padded with black to `padded` pixels a side and packed by `unshuffle` into more channels of fewer
    pixels, so that the network works on a quarter (a sixteenth) of the positions.
    """

    def __init__(self, vae: AutoencoderKL, height: int, width: int, padded: int, unshuffle: int) -> None:
        super().__init__()
        self.vae = vae
        self.height, self.width, self.padded, self.unshuffle = height, width, padded, unshuffle

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(latent_channels, h, w)."""
        size = self.padded // self.unshuffle // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, size, size

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent's distribution, each (B, latent_channels, h, w)."""
        left, top = (self.padded - self.width) // 2, (self.padded - self.height) // 2
        right, bottom = self.padded - self.width - left, self.padded - self.height - top
        x = F.pad(images, (left, right, top, bottom), value=-1.0)  # (B, C, P, P)
        posterior = self.vae.encode(F.pixel_unshuffle(x, self.unshuffle)).latent_dist
        return posterior.mean, posterior.std

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, C, H, W), about in [-1, 1]."""
        x = F.pixel_shuffle(self.vae.decode(latents).sample, self.unshuffle)  # (B, C, P, P)
        left, top = (self.padded - self.width) // 2, (self.padded - self.height) // 2
        return x[:, :, top : top + self.height, left : left + self.width]


def padded_size(height: int, width: int, settings: Autoencoder) -> int:
    """The least size that holds the image and whose latent a U-Net of three levels can halve twice."""
    multiple = settings.unshuffle * 2 ** (len(settings.channels) - 1) * 4
    return math.ceil(max(height, width) / multiple) * multiple


def build_autoencoder(settings: Autoencoder, channels: int, height: int, width: int) -> LatentAutoencoder:
    """An untrained autoencoder for images (B, channels, height, width)."""
    levels, packed = len(settings.channels), channels * settings.unshuffle**2
    padded = padded_size(height, width, settings)
    vae = AutoencoderKL(
        in_channels=packed,
        out_channels=packed,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers_per_block,
        latent_channels=settings.latent_channels,
        norm_num_groups=8,
        sample_size=padded // settings.unshuffle,
        mid_block_add_attention=False,
    )
    vae = vae.to(memory_format=torch.channels_last)
    return LatentAutoencoder(vae, height, width, padded, settings.unshuffle)
