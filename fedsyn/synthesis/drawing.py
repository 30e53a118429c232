"""From an image's name to its pixels: the noise that the name gives, denoised for its class and decoded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedsyn.config import Synthesis
from fedsyn.data.images import to_bytes
from fedsyn.diffusion.sampling import sample_latents
from fedsyn.models.autoencoder import Codec
from fedsyn.models.denoiser import Network
from fedsyn.randomness import generator


@dataclass(frozen=True)
class LatentDiffusion:
    """What draws images: the denoiser and its training schedule, the autoencoder, and the moments between them.

    `mean`, `std`: (c,), of the latents that the autoencoder decodes; the denoiser's are standardised.

    Raises:
        ValueError: the parts do not fit together.
    """

    unet: Network
    schedule: dict[str, Any]
    autoencoder: Codec
    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        decoded, channels = tuple(self.autoencoder.latent_shape), len(self.mean)
        if self.latent_shape != decoded or channels != decoded[0]:
            raise ValueError(
                f"the denoiser makes latents of shape {self.latent_shape}, the autoencoder decodes {decoded}, and the "
                f"moments are of {channels} channels: they come from different runs; `fedsyn run` makes ones that fit"
            )

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of what the denoiser makes."""
        config = self.unet.config
        return config.in_channels, config.sample_size, config.sample_size


def draw_images(model: LatentDiffusion, noise: Tensor, labels: Tensor, settings: Synthesis) -> Tensor:
    """Images (B, H, W, C) uint8 of classes `labels` (B,) from `noise` (B, c, h, w)."""
    latents = sample_latents(
        model.unet,
        model.schedule,
        noise,
        labels,
        sampler=settings.sampler,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        guidance_interval=settings.guidance_interval,
    )
    with torch.inference_mode():
        return to_bytes(model.autoencoder.decode(latents * model.std[:, None, None] + model.mean[:, None, None]))


def image_noise(seed: int, images: pd.DataFrame, shape: tuple[int, ...]) -> np.ndarray:
    """The initial noise of each image, (B, *shape): a stream of its own for each class_id and index, and for each
    client_id where the images have one. A pool's images are nobody's."""
    clients = images["client_id"].tolist() if "client_id" in images else [None] * len(images)
    names = zip(clients, images["class_id"].tolist(), images["index"].tolist(), strict=True)
    streams = (
        generator(seed, "synthesis", "noise", client_id=client_id, class_id=class_id, index=index)
        for client_id, class_id, index in names
    )
    return np.stack([stream.standard_normal(shape, np.float32) for stream in streams])
