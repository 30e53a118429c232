"""Step 4: each client synthesises what it lacks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Synthesis
from fedsyn.context import Context
from fedsyn.federated.classification import probabilities
from fedsyn.metrics.label_quality import share
from fedsyn.models.denoiser import load_denoiser
from fedsyn.stages.autoencoder import load_autoencoder
from fedsyn.stages.classifier import believed_samples, count_clients, labeled_samples, load_classifier
from fedsyn.synthesis.batches import batch_size_for
from fedsyn.synthesis.dealing import own_images, shared_pool
from fedsyn.synthesis.drawing import LatentDiffusion, draw_images, image_noise
from fedsyn.synthesis.parts import generate_parts
from fedsyn.synthesis.pictures import deal_out, picture_column, read_pictures
from fedsyn.synthesis.plan import plan_targets, to_generate


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, synthesis: Synthesis
) -> dict[str, float]:
    """Writes plan.parquet (client, class, have, target, to_generate, kept) and images.parquet (the images as PNG, in
    the layout of Hugging Face datasets). Images stream to disk batch by batch: memory does not grow with their number,
    and an interrupted run goes on with the next one.

    Raises:
        ValueError: no client lacks anything, so there is nothing to generate; or the filter kept nothing; or denoiser,
            autoencoder and moments do not fit together.
    """
    info = inputs["dataset"].read_json("info")
    plan = make_plan(inputs, synthesis, len(info["class_names"]))
    amounts = plan["to_generate"].to_numpy().reshape(count_clients(inputs), -1)  # (K, C)
    drawn, dealt = shared_pool(amounts, seed) if synthesis.shared_pool else own_images(amounts)
    if drawn.empty:
        raise ValueError(
            f"synthesis.target '{synthesis.target}' asks for no image: every client has what it should; "
            "set synthesis.per_class higher, or choose another target"
        )
    model = load_model(inputs, context.device)
    classifier = load_classifier(inputs["classifier"], info).to(context.device)

    def draw(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        noise = torch.from_numpy(image_noise(seed, rows, model.latent_shape)).to(context.device)
        labels = torch.tensor(rows["class_id"].to_numpy(np.int64), device=context.device)
        images = draw_images(model, noise, labels, synthesis)
        agrees = probabilities(classifier, images).argmax(1) == labels
        return images.cpu().numpy(), agrees.cpu().numpy()

    def make(start: int, stop: int) -> pa.Table:
        rows = drawn.iloc[start:stop]
        images, agrees = draw(rows)
        context.progress(stop, len(drawn), "images")
        columns = {name: rows[name].to_numpy() for name in ("class_id", "index")}
        return pa.table({**columns, "image": picture_column(images, _file_names(rows)), "agrees": agrees})

    batch_size = synthesis.batch_size or batch_size_for(
        lambda count: draw(drawn.iloc[np.arange(count) % len(drawn)]), context.device
    )
    confirmed, kept = 0, np.zeros_like(amounts)
    with pq.ParquetWriter(output.path("images.parquet"), schemas.SYNTHETIC_IMAGES, compression="zstd") as writer:
        for table in deal_out(generate_parts(len(drawn), batch_size, make, context.checkpoints), dealt):
            confirmed += pc.sum(table["agrees"]).as_py()
            table = table.filter(table["agrees"]) if synthesis.filter else table
            np.add.at(kept, (table["client_id"].to_numpy(), table["class_id"].to_numpy()), 1)
            table = table.append_column("seed", pa.array(np.full(len(table), seed)))
            writer.write_table(table.select(schemas.SYNTHETIC_IMAGES.names).cast(schemas.SYNTHETIC_IMAGES))

    if not kept.any():
        raise ValueError(
            f"synthesis.filter dropped all {len(dealt)} images: the classifier confirms none; set it to false"
        )
    output.write_table("plan", plan.assign(kept=kept.ravel()), schemas.PLAN)
    return {
        "generated": len(dealt),
        "kept": int(kept.sum()),
        "classifier_agreement": share(confirmed, len(dealt)),
        "drawn": len(drawn),
    }


def load_model(inputs: Mapping[str, Artifact], device: torch.device) -> LatentDiffusion:
    """What draws images, on its device, from the artifacts of denoiser, autoencoder and latents."""
    moments = inputs["latents"].read_tensors("moments")
    return LatentDiffusion(
        load_denoiser(inputs["denoiser"].root / "unet").to(device).eval(),
        inputs["denoiser"].read_json("scheduler/scheduler_config"),
        load_autoencoder(inputs["autoencoder"]).to(device),
        moments["mean"].to(device),
        moments["std"].to(device),
    )


def make_plan(inputs: Mapping[str, Artifact], synthesis: Synthesis, num_classes: int) -> pd.DataFrame:
    """The plan as a table, one row for each client and class."""
    believed = believed_samples(inputs)
    counted = labeled_samples(inputs["partition"]) if synthesis.have == "labels" else believed
    have = np.zeros((count_clients(inputs), num_classes), dtype=np.int64)
    np.add.at(have, (counted["client_id"].to_numpy(), counted["label"].to_numpy()), 1)
    learnable = np.bincount(believed["label"], minlength=num_classes) > 0
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
    path = artifact.root / "images.parquet"
    rows = pq.read_table(path, columns=["client_id", "class_id", "index"]).to_pandas()
    return torch.from_numpy(read_pictures(path)), rows


def _file_names(rows: pd.DataFrame) -> list[str]:
    owners = [f"client{client_id}-" for client_id in rows["client_id"]] if "client_id" in rows else [""] * len(rows)
    names = zip(owners, rows["class_id"], rows["index"], strict=True)
    return [f"{owner}class{class_id}-{index}.png" for owner, class_id, index in names]
