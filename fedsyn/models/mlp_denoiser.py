"""A denoiser of latents as plain vectors. It needs diffusers and torch alone: exported models carry a copy of it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.utils import BaseOutput
from torch import Tensor, nn

FREQUENCIES = 256
"""Sines and cosines that a time step is told by."""


@dataclass
class MLPDenoiserOutput(BaseOutput):
    """`sample`: the prediction, (B, c, h, w)."""

    sample: Tensor


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero."""

    starts_at_zero = True

    def reset_parameters(self) -> None:
        """Zeros."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class ResidualBlock(nn.Module):
    """x + gate * MLP(scale * norm(x) + shift); gate, scale and shift follow the condition, and gate begins at zero."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = ZeroLinear(condition, 3 * width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, width), (B, condition) -> (B, width)."""
        shift, scale, gate = self.modulation(condition).chunk(3, dim=1)
        return x + gate * self.down(F.silu(self.up(self.norm(x) * (1 + scale) + shift)))


class MLPDenoiser(ModelMixin, ConfigMixin):
    """Residual blocks with adaptive layer norm (AdaLN-Zero: Peebles and Xie, 2023; as a denoiser of vectors: Li et al.,
    2024), over latents that are flattened. Matrix products are what processors do best, and where a latent has no
    neighbourhoods, as principal components have none, convolutions would have nothing to see.

    Called as diffusers' UNet2DModel is: `model(latents, timestep, class_labels=labels).sample`.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int,
        sample_size: int,
        num_class_embeds: int,
        width: int = 768,
        num_blocks: int = 4,
        condition: int = 256,
    ) -> None:
        super().__init__()
        elements = in_channels * sample_size**2
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(FREQUENCIES, condition)
        self.class_embedding = nn.Embedding(num_class_embeds, condition)
        self.first = nn.Linear(elements, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, condition) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = ZeroLinear(condition, 2 * width)
        self.last = ZeroLinear(width, elements)

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> MLPDenoiserOutput:
        """Latents (B, c, h, w), time steps (B,) or one for all, labels (B,) -> a prediction of the latents' shape."""
        times = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedded = self.time_embedding(self.frequencies(times).to(sample.dtype))
        condition = F.silu(embedded + self.class_embedding(class_labels))  # (B, condition)
        x = self.first(sample.flatten(1))  # (B, width)
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation(condition).chunk(2, dim=1)
        return MLPDenoiserOutput(sample=self.last(self.norm(x) * (1 + scale) + shift).reshape(sample.shape))
