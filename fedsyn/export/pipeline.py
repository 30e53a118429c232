"""A class-conditional latent diffusion model as a pipeline of diffusers.

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
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DModel


class ClassConditionalLatentDiffusionPipeline(DiffusionPipeline):
    """Noise of a named draw -> latents by a denoiser with classifier-free guidance -> images by an autoencoder.

    `codec`: height and width of an image, the size to which the autoencoder pads it, and the space-to-depth factor
    around its network. `moments`: mean and std per latent channel; the denoiser works on standardised latents.
    `id2label`: names of the classes. `sampling`: the steps and the guidance scale that a call takes by default, and the
    part of the course in which guidance acts.
    """

    model_cpu_offload_seq = "unet->vae"

    def __init__(
        self,
        unet: UNet2DModel,
        vae: AutoencoderKL,
        scheduler: SchedulerMixin,
        codec: dict[str, int] | None = None,
        moments: dict[str, list[float]] | None = None,
        id2label: dict[str, str] | None = None,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for model in (unet, vae):
            model.to(memory_format=torch.channels_last)
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        self.register_to_config(codec=codec, moments=moments, id2label=id2label, sampling=sampling)

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
    ) -> ImagePipelineOutput | tuple[Any]:
        """One image for each class of `class_labels`, numbers or names.

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
        low, high = defaults.get("guidance_interval", (0.0, 1.0))  # of the course from 0 (image) to 1 (noise)
        course = self.scheduler.config.num_train_timesteps
        self.scheduler.set_timesteps(num_inference_steps or defaults.get("num_inference_steps", 20), device=device)

        latents = latents.to(device, dtype) * self.scheduler.init_noise_sigma
        for timestep in self.progress_bar(self.scheduler.timesteps):
            x = self.scheduler.scale_model_input(latents, timestep).contiguous(memory_format=torch.channels_last)
            w = weight if low <= float(timestep) / course <= high else 1.0
            latents = self.scheduler.step(self._predict(x, timestep, labels, w), timestep, latents).prev_sample
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

    def _predict(self, x: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
        """unconditional + w (conditional - unconditional); the last class of the network means "no label"."""
        if weight == 1:
            return self.unet(x, timestep, class_labels=labels).sample
        no_label = torch.full_like(labels, self.unet.config.num_class_embeds - 1)
        both = self.unet(torch.cat([x, x]), timestep, class_labels=torch.cat([labels, no_label])).sample
        conditional, unconditional = both.chunk(2)
        return unconditional + weight * (conditional - unconditional)

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        """Images (B, H, W, C) in [0, 1], in 256 steps, from standardised latents."""
        moments, codec = self.config.moments, self.config.codec
        mean, std = (torch.tensor(moments[name]).to(latents)[:, None, None] for name in ("mean", "std"))
        x = F.pixel_shuffle(self.vae.decode(latents * std + mean).sample, codec["unshuffle"])  # (B, C, P, P)
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
