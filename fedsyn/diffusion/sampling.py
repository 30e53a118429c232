"""Drawing images: diffusers' samplers with classifier-free guidance and one noise stream an image."""

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UNet2DModel, UniPCMultistepScheduler
from torch import Tensor

SAMPLERS = {
    "ddim": DDIMScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


@torch.inference_mode()
def sample_latents(
    model: UNet2DModel,
    schedule: dict,
    noise: Tensor,
    labels: Tensor,
    *,
    sampler: str,
    steps: int,
    guidance_scale: float,
) -> Tensor:
    """Denoise `noise` (B, c, h, w) into latents of classes `labels` (B,), deterministically.

    Guidance (Ho and Salimans, 2022): prediction = unconditional + w (conditional - unconditional), where
    w = `guidance_scale` and 1 is the conditional model as it is. `schedule` is the training scheduler's config.
    """
    # The first step must be at t = T - 1, where training ends in pure noise ("trailing"): one that starts below it is
    # given noise where it expects a trace of the image, and draws all classes towards their mean (Lin et al., 2024).
    # A predicted noise says nothing about the image at T - 1, so with it the steps start below.
    spacing = "leading" if schedule["prediction_type"] == "epsilon" else "trailing"
    options = {"timestep_spacing": spacing} | ({} if sampler == "ddim" else {"final_sigmas_type": "zero"})
    scheduler = SAMPLERS[sampler].from_config(schedule, **options)
    scheduler.set_timesteps(steps, device=noise.device)
    no_label = torch.full_like(labels, model.config.num_class_embeds - 1)
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        x = scheduler.scale_model_input(latents, timestep).contiguous(memory_format=torch.channels_last)
        if guidance_scale == 1:
            prediction = model(x, timestep, class_labels=labels).sample
        else:
            both = model(torch.cat([x, x]), timestep, class_labels=torch.cat([labels, no_label])).sample
            conditional, unconditional = both.chunk(2)
            prediction = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents
