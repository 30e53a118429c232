"""The best linear autoencoder. It needs diffusers and torch alone: exported models carry a copy of it."""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor


@dataclass
class DecodedImages(BaseOutput):
    """`sample`: images (B, C, P, P)."""

    sample: Tensor


class LinearAutoencoder(ModelMixin, ConfigMixin):
    """Images (B, C, P, P) <-> coordinates (B, D, 1, 1) along D directions from a mean image."""

    @register_to_config
    def __init__(self, channels: int, size: int, components: int) -> None:
        super().__init__()
        pixels = channels * size**2
        self.mean = torch.nn.Parameter(torch.zeros(pixels), requires_grad=False)
        self.directions = torch.nn.Parameter(torch.zeros(components, pixels), requires_grad=False)  # orthonormal rows

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, P, P) -> (B, D, 1, 1)."""
        return ((images.flatten(1) - self.mean) @ self.directions.T)[:, :, None, None]

    def decode(self, latents: Tensor) -> DecodedImages:
        """(B, D, 1, 1) -> (B, C, P, P)."""
        flat = latents.flatten(1) @ self.directions + self.mean
        return DecodedImages(sample=flat.reshape(-1, self.config.channels, self.config.size, self.config.size))
