"""The denoiser and all that is needed to draw with it, as a folder that `DiffusionPipeline.from_pretrained` loads."""

import shutil
from collections.abc import Mapping

import diffusers
import torch

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Synthesis
from fedsyn.diffusion.sampling import is_flow, solver
from fedsyn.export import pipeline


def write_model(folder: Folder, inputs: Mapping[str, Artifact], settings: Synthesis) -> None:
    """Writes model_index.json, pipeline.py, unet/, scheduler/ (the sampler's, not that of the training) and, where the
    run has an autoencoder, vae/.

    `inputs`: dataset, autoencoder, latents and denoiser; weights are copied byte by byte. What belongs to none of the
    parts (moments, padding and packing, the course of the training, class names, how many steps) lies in
    model_index.json, in dictionaries: diffusers takes a list there for the name of a part.
    """
    shutil.copytree(inputs["denoiser"].root / "unet", folder.path("unet"))
    codec = inputs["autoencoder"].read_json("codec")
    pixels = codec.pop("kind") == "pixel"
    if not pixels:
        shutil.copytree(inputs["autoencoder"].root / "vae", folder.path("vae"))
    schedule = inputs["denoiser"].read_json("scheduler/scheduler_config")
    scheduler, _ = solver(schedule, settings.sampler, settings.steps, torch.device("cpu"))
    scheduler.save_pretrained(folder.path("scheduler"))
    shutil.copyfile(pipeline.__file__, folder.path("pipeline.py"))
    names = inputs["dataset"].read_json("info")["class_names"]
    moments = inputs["latents"].read_tensors("moments")
    index = {
        "_class_name": ["pipeline", pipeline.ClassConditionalLatentDiffusionPipeline.__name__],
        "_diffusers_version": diffusers.__version__,
        "unet": ["diffusers", "UNet2DModel"],
        "vae": [None, None] if pixels else ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "codec": codec,
        "moments": {name: moments[name].tolist() for name in ("mean", "std")},
        "course": {"flow": is_flow(schedule), "timesteps": schedule["num_train_timesteps"]},
        "id2label": {str(class_id): name for class_id, name in enumerate(names)},
        "sampling": {
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "guidance_interval": settings.guidance_interval,
        },
    }
    folder.write_json("model_index", index)
