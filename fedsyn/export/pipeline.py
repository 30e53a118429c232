"""A class-conditional model of diffusion or flow matching, of latents or pixels, as a pipeline of diffusers.

fedsyn writes a copy of this file into the folder of every model that it exports; the file needs torch, diffusers, NumPy
and Pillow, and not fedsyn:

    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)
    pipe([0, 1, 2]).images  # one image each of classes 0, 1 and 2
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    ImagePipelineOutput,
    ModelMixin,
    SchedulerMixin,
)


class ClassConditionalLatentDiffusionPipeline(DiffusionPipeline):
    """Noise of a named draw -> latents by a denoiser with classifier-free guidance -> images by an autoencoder.

    `unet`: a UNet2DModel, or what is called like one. `vae`: an AutoencoderKL, or what decodes like one; none where the
    latents are the packed pixels. `codec`: height and width of an image, the size to which it is padded, the
    space-to-depth factor `unshuffle`, and in how many `copies` a greyscale image goes through an autoencoder of
    colours. `moments`: mean and std per latent channel; the denoiser works on standardised latents. `course`: is it a
    `flow`, and T, the `timesteps` from image to noise that the denoiser was trained on. `id2label`: names of the
    classes. `sampling`: what a call takes by default of steps, guidance scale and guidance interval.
    """

    model_cpu_offload_seq = "unet->vae"
    _optional_components = ["vae"]

    def __init__(
        self,
        unet: ModelMixin,
        vae: ModelMixin | None,
        scheduler: SchedulerMixin,
        codec: dict[str, Any] | None = None,
        moments: dict[str, list[float]] | None = None,
        course: dict[str, Any] | None = None,
        id2label: dict[str, str] | None = None,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for model in (unet, vae):
            if model is not None:
                model.to(memory_format=torch.channels_last)
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        self.register_to_config(codec=codec, moments=moments, course=course, id2label=id2label, sampling=sampling)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int | str],
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        guidance_interval: tuple[float, float] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """One image for each class of `class_labels`, numbers or names.

        `guidance_interval`: the part of the course from 0 (image) to 1 (noise) in which guidance acts.
        `latents`: the initial noise (B, c, h, w), of `noise`, say; without it it is drawn from `generator`.
        `output_type`: `pil`, or `np` for floats (B, H, W, C) in [0, 1].

        Raises:
            ValueError: there is no such class, or the noise has another shape.
        """
        device, dtype = self._execution_device, self.unet.dtype
        labels = torch.tensor([self._class_id(label) for label in class_labels], device=device)
        shape = (len(labels), *self.latent_shape)
        if latents is None:
            latents = _draw(shape, generator).to(device, dtype)
        elif tuple(latents.shape) != shape:
            raise ValueError(f"latents must be of shape {shape}, got {tuple(latents.shape)}")
        defaults = self.config.sampling or {}
        weight = defaults.get("guidance_scale", 1.0) if guidance_scale is None else guidance_scale
        lowest, highest = guidance_interval or defaults.get("guidance_interval") or (0.0, 1.0)
        times = self._set_steps(num_inference_steps or defaults.get("num_inference_steps", 20), device)
        places = (times.double() / self.config.course["timesteps"]).tolist()

        scheduler = self.scheduler  # that of a flow by Euler's rule scales nothing, and has no methods for it
        scaled = getattr(scheduler, "scale_model_input", lambda latents, timestep: latents)
        latents = latents.to(device, dtype) * getattr(scheduler, "init_noise_sigma", 1.0)
        for number, timestep in enumerate(self.progress_bar(scheduler.timesteps)):
            x = scaled(latents, timestep).contiguous(memory_format=torch.channels_last)
            guidance = weight if lowest <= places[number] <= highest else 1.0
            predicted = self._predict(x, times[number], labels, guidance)
            latents = scheduler.step(predicted, timestep, latents).prev_sample
        images = self._decode(latents)
        self.maybe_free_model_hooks()
        pictures = self.numpy_to_pil(images) if output_type == "pil" else images
        return ImagePipelineOutput(images=pictures) if return_dict else (pictures,)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the noise of an image."""
        return self.unet.config.in_channels, self.unet.config.sample_size, self.unet.config.sample_size

    def noise(self, seed: int, class_id: int, index: int, client_id: int | None = None) -> torch.Tensor:
        """The noise (c, h, w) that an image of the exported data set was drawn from, by the columns of its row; without
        a client for an image of a pool."""
        client = None if client_id is None else int(client_id)
        name = json.dumps([int(seed), "synthesis", "noise", None, client, int(class_id), int(index)])
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
        stream = np.random.Generator(np.random.Philox(key=key))
        return torch.from_numpy(stream.standard_normal(self.latent_shape, np.float32))

    def _set_steps(self, steps: int, device: torch.device) -> torch.Tensor:
        """Sets the scheduler; the time (steps,) that the denoiser is told at each step.

        A flow goes in steps of equal length, and a solver's own time is finer than the denoiser's.
        """
        course, scheduler = self.config.course, self.scheduler
        if not course["flow"]:
            scheduler.set_timesteps(steps, device=device)
            return scheduler.timesteps
        if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), device=device)
        else:
            scheduler.set_timesteps(steps, device=device)
        scheduler.set_begin_index(0)
        return scheduler.sigmas[:-1].to(device) * course["timesteps"]

    def _predict(self, x: torch.Tensor, time: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
        """unconditional + w (conditional - unconditional); the last class of the network means "no label"."""
        if weight == 1:
            return self.unet(x, time, class_labels=labels).sample
        no_label = torch.full_like(labels, self.unet.config.num_class_embeds - 1)
        both = self.unet(torch.cat([x, x]), time, class_labels=torch.cat([labels, no_label])).sample
        conditional, unconditional = both.chunk(2)
        return unconditional + weight * (conditional - unconditional)

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        """Images (B, H, W, C) in [0, 1], in 256 steps, from standardised latents."""
        moments, codec = self.config.moments, self.config.codec
        mean, std = (torch.tensor(moments[name]).to(latents)[:, None, None] for name in ("mean", "std"))
        x = latents * std + mean
        if self.vae is not None:
            x = self.vae.decode(x).sample
        x = F.pixel_shuffle(x, codec["unshuffle"])  # (B, C * copies, P, P)
        if codec.get("copies", 1) > 1:
            x = x.mean(1, keepdim=True)
        height, width = codec["height"], codec["width"]
        top, left = (codec["padded"] - height) // 2, (codec["padded"] - width) // 2
        x = x[:, :, top : top + height, left : left + width]
        levels = x.add(1.0).mul(127.5).round().clamp(0, 255)
        return levels.permute(0, 2, 3, 1).float().cpu().numpy() / 255

    def _class_id(self, label: int | str) -> int:
        names = self.config.id2label or {}
        known = {str(name): int(class_id) for class_id, name in names.items()}
        class_id = label if isinstance(label, int) else known.get(label)
        if class_id is None or not 0 <= class_id < self.unet.config.num_class_embeds - 1:
            raise ValueError(f"class_labels must be of {sorted(known.values())} or {list(known)}, got {label!r}")
        return int(class_id)


def _draw(shape: tuple[int, ...], generator: torch.Generator | list[torch.Generator] | None) -> torch.Tensor:
    """Standard normal noise, from one generator or from one for each image, on the generator's device."""
    if isinstance(generator, list):
        return torch.cat([_draw((1, *shape[1:]), own) for own in generator])
    return torch.empty(shape, device=generator.device if generator else None).normal_(generator=generator)
