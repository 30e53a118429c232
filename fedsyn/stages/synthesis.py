"""Step 4: each client synthesises what it lacks."""

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from diffusers import UNet2DModel
from PIL import Image

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Synthesis
from fedsyn.context import Context
from fedsyn.data.images import to_bytes
from fedsyn.diffusion.sampling import sample_latents
from fedsyn.federated.classification import probabilities
from fedsyn.metrics.label_quality import share
from fedsyn.randomness import generator
from fedsyn.stages.autoencoder import load_autoencoder
from fedsyn.stages.classifier import believed_samples, count_clients, load_classifier
from fedsyn.synthesis.parts import generate_parts
from fedsyn.synthesis.plan import plan_targets, to_generate


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, synthesis: Synthesis
) -> dict[str, float]:
    """Writes plan.parquet (client, class, have, target, to_generate, kept) and images.parquet (the images as PNG, in
    the layout of Hugging Face datasets). Images stream to disk batch by batch: memory does not grow with their number,
    and an interrupted run goes on with the next one.

    Raises:
        ValueError: no client lacks anything, so there is nothing to generate; or the filter kept nothing.
    """
    info = inputs["dataset"].read_json("info")
    plan = make_plan(inputs, synthesis, len(info["class_names"]))
    wanted = plan.loc[plan.index.repeat(plan["to_generate"]), ["client_id", "class_id"]].reset_index(drop=True)
    wanted["index"] = wanted.groupby(["client_id", "class_id"]).cumcount()
    if wanted.empty:
        raise ValueError(
            f"synthesis.target '{synthesis.target}' asks for no image: every client has what it should; "
            "set synthesis.per_class higher, or choose another target"
        )
    unet = UNet2DModel.from_pretrained(inputs["denoiser"].root / "unet", use_safetensors=True)  # nothing else is read
    unet = unet.to(context.device, memory_format=torch.channels_last).eval()
    schedule = inputs["denoiser"].read_json("scheduler/scheduler_config")
    autoencoder = load_autoencoder(inputs["autoencoder"]).to(context.device)
    classifier = load_classifier(inputs["classifier"], info).to(context.device)
    moments = inputs["latents"].read_tensors("moments")
    mean, std = (moments[name].to(context.device)[:, None, None] for name in ("mean", "std"))
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)

    def make(start: int, stop: int) -> pa.Table:
        batch = wanted.iloc[start:stop]
        labels = torch.tensor(batch["class_id"].to_numpy(np.int64), device=context.device)
        latents = sample_latents(
            unet,
            schedule,
            torch.from_numpy(image_noise(seed, batch, shape)).to(context.device),
            labels,
            sampler=synthesis.sampler,
            steps=synthesis.steps,
            guidance_scale=synthesis.guidance_scale,
        )
        with torch.inference_mode():
            images = to_bytes(autoencoder.decode(latents * std + mean))
        agrees = (probabilities(classifier, images).argmax(1) == labels).cpu().numpy()
        context.progress(stop, len(wanted), "images")
        return _rows(batch, images.cpu().numpy(), seed).append_column("agrees", pa.array(agrees))

    confirmed, kept = 0, np.zeros((count_clients(inputs), len(info["class_names"])), dtype=np.int64)
    with pq.ParquetWriter(output.path("images.parquet"), schemas.SYNTHETIC_IMAGES, compression="zstd") as writer:
        for table in generate_parts(len(wanted), synthesis.batch_size or 128, make, context.checkpoints):
            confirmed += pc.sum(table["agrees"]).as_py()
            table = (table.filter(table["agrees"]) if synthesis.filter else table).drop_columns("agrees")
            np.add.at(kept, (table["client_id"].to_numpy(), table["class_id"].to_numpy()), 1)
            writer.write_table(table)

    if not kept.any():
        raise ValueError(
            f"synthesis.filter dropped all {len(wanted)} images: the step-1 classifier confirms none; set it to false"
        )
    output.write_table("plan", plan.assign(kept=kept.ravel()), schemas.PLAN)
    return {
        "generated": len(wanted),
        "kept": int(kept.sum()),
        "classifier_agreement": share(confirmed, len(wanted)),
    }


def image_noise(seed: int, batch: pd.DataFrame, shape: tuple[int, ...]) -> np.ndarray:
    """The initial noise of each image of a batch, (B, *shape): a stream of its own for each client, class and index."""
    streams = (
        generator(seed, "synthesis", "noise", client_id=client_id, class_id=class_id, index=index)
        for client_id, class_id, index in batch[["client_id", "class_id", "index"]].to_numpy().tolist()
    )
    return np.stack([stream.standard_normal(shape, np.float32) for stream in streams])


def make_plan(inputs: Mapping[str, Artifact], synthesis: Synthesis, num_classes: int) -> pd.DataFrame:
    """The plan as a table, one row for each client and class."""
    assignments = inputs["partition"].read_table("assignments")
    labeled = assignments[assignments["role"] == "labeled"]
    num_clients = count_clients(inputs)
    have = np.zeros((num_clients, num_classes), dtype=np.int64)
    np.add.at(have, (labeled["client_id"].to_numpy(), labeled["label"].to_numpy(np.int64)), 1)
    learnable = np.bincount(believed_samples(inputs)["label"], minlength=num_classes) > 0
    target = plan_targets(have, learnable, synthesis)
    indices = np.indices(have.shape)
    columns = {
        "client_id": indices[0],
        "class_id": indices[1],
        "have": have,
        "target": target,
        "to_generate": to_generate(have, target, synthesis.budget),
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def load_images(artifact: Artifact) -> tuple[torch.Tensor, pd.DataFrame]:
    """The synthetic images (n, H, W, C) uint8, and client_id, class_id and index of each."""
    table = pq.read_table(artifact.root / "images.parquet")
    pictures = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in table["image"].to_pylist()]
    images = torch.from_numpy(np.stack(pictures))
    rows = table.select(["client_id", "class_id", "index"]).to_pandas()
    return images if images.ndim == 4 else images[..., None], rows


def _rows(batch: pd.DataFrame, images: np.ndarray, seed: int) -> pa.Table:
    names = [f"client{row.client_id}-class{row.class_id}-{row[-1]}.png" for row in batch.itertuples()]
    pictures = [{"bytes": _png(image), "path": name} for image, name in zip(images, names, strict=True)]
    columns = {name: batch[name].to_numpy() for name in ("client_id", "class_id", "index")}
    return pa.table({**columns, "seed": np.full(len(batch), seed), "image": pictures}, schema=schemas.SYNTHETIC_IMAGES)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()
