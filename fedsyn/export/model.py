"""The denoiser and all that is needed to draw with it, as a folder that `DiffusionPipeline.from_pretrained` loads."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import diffusers
import torch

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Synthesis
from fedsyn.diffusion.sampling import is_flow, solver
from fedsyn.export import pipeline
from fedsyn.models import linear_autoencoder, mlp_denoiser


def write_model(folder: Folder, inputs: Mapping[str, Artifact], settings: Synthesis) -> None:
    """Writes model_index.json, pipeline.py, unet/, scheduler/ (the sampler's, not that of the training) and, where the
    run has an autoencoder, vae/.

    `inputs`: dataset, autoencoder, latents and denoiser; weights are copied byte by byte. What belongs to none of the
    parts (moments, padding and packing, the course of the training, class names, how many steps) lies in
    model_index.json, in dictionaries: diffusers takes a list there for the name of a part.
    """
    codec = inputs["autoencoder"].read_json("codec")
    pixels = codec.pop("kind") == "pixel"
    unet = write_part(folder, "unet", inputs["denoiser"])
    vae = [None, None] if pixels else write_part(folder, "vae", inputs["autoencoder"])
    schedule = inputs["denoiser"].read_json("scheduler/scheduler_config")
    scheduler, _ = solver(schedule, settings.sampler, settings.steps, torch.device("cpu"))
    scheduler.save_pretrained(folder.path("scheduler"))
    shutil.copyfile(pipeline.__file__, folder.path("pipeline.py"))
    names = inputs["dataset"].read_json("info")["class_names"]
    moments = inputs["latents"].read_tensors("moments")
    index = {
        "_class_name": ["pipeline", pipeline.ClassConditionalLatentDiffusionPipeline.__name__],
        "_diffusers_version": diffusers.__version__,
        "unet": unet,
        "vae": vae,
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


def write_part(folder: Folder, name: str, artifact: Artifact) -> list[str]:
    """Copies a network byte by byte; the module and the class that model_index.json names it by. Where diffusers does
    not know the class, the module is a file beside the weights."""
    shutil.copytree(artifact.root / name, folder.path(name))
    class_name: str = artifact.read_json(f"{name}/config")["_class_name"]
    for module in (linear_autoencoder, mlp_denoiser):
        if hasattr(module, class_name):
            source = Path(str(module.__file__))
            shutil.copyfile(source, folder.path(name) / source.name)
            return [source.stem, class_name]
    return ["diffusers", class_name]
