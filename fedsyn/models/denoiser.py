"""The class-conditional denoiser of latents: diffusers' UNet2DModel, or an MLP, with one more class for 'no label'."""

import json
from pathlib import Path
from typing import TypeAlias

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel

from fedsyn.config import Denoiser
from fedsyn.models.mlp_denoiser import MLPDenoiser

Network: TypeAlias = UNet2DModel | MLPDenoiser


def build_denoiser(settings: Denoiser, latent_channels: int, latent_size: int, num_classes: int) -> Network:
    """An untrained denoiser of latents (B, latent_channels, latent_size, latent_size) with labels (B,).

    Labels 0 .. num_classes - 1 are classes; label num_classes is 'no label' (classifier-free guidance).
    """
    if settings.architecture == "mlp":
        return MLPDenoiser(
            in_channels=latent_channels,
            sample_size=latent_size,
            num_class_embeds=num_classes + 1,
            width=settings.channels[0],
            num_blocks=settings.layers_per_block,
        )
    levels = len(settings.channels)
    coarsest = ("AttnDownBlock2D", "AttnUpBlock2D") if settings.attention else ("DownBlock2D", "UpBlock2D")
    model = UNet2DModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D",) * (levels - 1) + (coarsest[0],),
        up_block_types=(coarsest[1],) + ("UpBlock2D",) * (levels - 1),
        block_out_channels=settings.channels,
        layers_per_block=settings.layers_per_block,
        norm_num_groups=8,
        attention_head_dim=min(32, settings.channels[-1]),
        add_attention=settings.attention,
        num_class_embeds=num_classes + 1,
    )
    return model.to(memory_format=torch.channels_last)


def load_denoiser(folder: Path) -> Network:
    """What `save_pretrained` wrote into `folder`. Safetensors only: nothing else is read."""
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    kind = {kind.__name__: kind for kind in (UNet2DModel, MLPDenoiser)}[name]
    model: Network = kind.from_pretrained(folder, use_safetensors=True)
    return model.to(memory_format=torch.channels_last)


def noise_scheduler(settings: Denoiser) -> DDPMScheduler | FlowMatchEulerDiscreteScheduler:
    """The course from image to noise; it is published with the model, and the sampler is made from it."""
    if settings.prediction == "flow":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=settings.timesteps)
    return DDPMScheduler(
        num_train_timesteps=settings.timesteps,
        beta_schedule=settings.noise_schedule,
        prediction_type=settings.prediction,
        clip_sample=False,
    )
