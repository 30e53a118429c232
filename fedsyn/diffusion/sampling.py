"""Drawing images: diffusers' samplers with classifier-free guidance and one noise stream an image."""

from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from fedsyn.models.denoiser import Network

SAMPLERS = {
    "ddim": DDIMScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
"""Of a diffusion."""

FLOW_SAMPLERS = {
    "euler": FlowMatchEulerDiscreteScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
"""Of flow matching."""

FINE = 100_000
"""Steps of the solvers' own time for flows: they begin at a noise of 1 - 1 / FINE, since at 1 their logarithms end."""


@torch.inference_mode()
def sample_latents(
    model: Network,
    schedule: dict,
    noise: Tensor,
    labels: Tensor,
    *,
    sampler: str,
    steps: int,
    guidance_scale: float,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Denoise `noise` (B, c, h, w) into latents of classes `labels` (B,), deterministically.

    Guidance (Ho and Salimans, 2022): prediction = unconditional + w (conditional - unconditional), where
    w = `guidance_scale` and 1 is the conditional model as it is. It acts inside `guidance_interval` of the course from
    0 (image) to 1 (noise), t / T (Kynkaanniemi et al., 2024); a step outside asks the model once instead of twice.
    `schedule` is the training scheduler's config.

    Raises:
        ValueError: the sampler is not one for this schedule.
    """
    scheduler, times = solver(schedule, sampler, steps, noise.device)
    places = (times.double() / schedule["num_train_timesteps"]).tolist()
    no_label = torch.full_like(labels, model.config.num_class_embeds - 1)
    lowest, highest = guidance_interval
    latents = noise
    for timestep, time, place in zip(scheduler.timesteps, times, places, strict=True):
        x = latents.contiguous(memory_format=torch.channels_last)
        if guidance_scale == 1 or not lowest <= place <= highest:
            prediction = model(x, time, class_labels=labels).sample
        else:
            both = model(torch.cat([x, x]), time, class_labels=torch.cat([labels, no_label])).sample
            conditional, unconditional = both.chunk(2)
            prediction = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


def solver(schedule: dict, sampler: str, steps: int, device: torch.device) -> tuple[Any, Tensor]:
    """diffusers' scheduler, set to `steps` steps, and the time (steps,) that the model is told at each.

    Its first latents are the noise as it is, and it gives the model its latents as they are.

    Raises:
        ValueError: the sampler is not one for this schedule.
    """
    flow = is_flow(schedule)
    known = FLOW_SAMPLERS if flow else SAMPLERS
    if sampler not in known:
        raise ValueError(
            f"synthesis.sampler must be one of {', '.join(known)} for a denoiser trained by "
            f"{'flow matching' if flow else 'diffusion'}, got {sampler!r}"
        )
    return (_flow_solver if flow else _diffusion_solver)(schedule, sampler, steps, device)


def is_flow(schedule: dict) -> bool:
    """Is a training scheduler's config one of flow matching? It then names nothing that could be predicted."""
    return "prediction_type" not in schedule


def _diffusion_solver(schedule: dict, sampler: str, steps: int, device: torch.device) -> tuple[Any, Tensor]:
    # The first step must be at t = T - 1, where training ends in pure noise ("trailing"): one that starts below it is
    # given noise where it expects a trace of the image, and draws all classes towards their mean (Lin et al., 2024).
    # A predicted noise says nothing about the image at T - 1, so with it the steps start below.
    spacing = "leading" if schedule["prediction_type"] == "epsilon" else "trailing"
    options = {"timestep_spacing": spacing} | ({} if sampler == "ddim" else {"final_sigmas_type": "zero"})
    scheduler = SAMPLERS[sampler].from_config(schedule, **options)
    scheduler.set_timesteps(steps, device=device)
    return scheduler, scheduler.timesteps


def _flow_solver(schedule: dict, sampler: str, steps: int, device: torch.device) -> tuple[Any, Tensor]:
    """Steps of equal length along the lines, from s = 1 to s = 0."""
    if sampler == "euler":
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=schedule["num_train_timesteps"])
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), device=device)
    else:
        scheduler = FLOW_SAMPLERS[sampler](
            num_train_timesteps=FINE,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            final_sigmas_type="zero",
        )
        scheduler.set_timesteps(steps, device=device)
    scheduler.set_begin_index(0)
    return scheduler, scheduler.sigmas[:-1].to(device) * schedule["num_train_timesteps"]
