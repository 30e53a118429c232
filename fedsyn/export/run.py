"""From a synthesis artifact to a folder for others: `model/` for diffusers, `dataset/` for Hugging Face datasets."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fedsyn.artifacts import Artifact, Folder, Manifest, Store
from fedsyn.artifacts.files import sha256
from fedsyn.config import Synthesis
from fedsyn.export.cards import dataset_card, model_card
from fedsyn.export.folder import ExportError as ExportError
from fedsyn.export.folder import new_folder
from fedsyn.export.model import write_model

INPUTS = ("dataset", "partition", "autoencoder", "latents", "denoiser")
"""What is read beside the synthesis itself."""


def open_run(store: Store, synthesis: Manifest) -> tuple[Artifact, dict[str, Artifact]]:
    """A synthesis and what it was drawn with, every byte verified.

    Raises:
        ExportError: one of them is gone, or has other bytes than the synthesis has read.
        StoreError: the store cannot be read, or an artifact is damaged.
    """
    inputs: dict[str, Artifact] = {}
    for name in INPUTS:
        read = synthesis.inputs[name]
        manifest = store.manifest(name, read.key)
        if manifest is None or manifest.digest != read.digest:
            state = "is not in the store" if manifest is None else "has other bytes by now"
            raise ExportError(f"{name}/{read.key}, which synthesis/{synthesis.key} was made from, {state}")
        inputs[name] = store.open(manifest)
    return store.open(synthesis), inputs


def export(synthesis: Artifact, inputs: Mapping[str, Artifact], target: Path) -> None:
    """Write `target`/model and `target`/dataset, both or neither.

    Raises:
        ExportError: `target` is there and is not an empty folder.
        OSError: it cannot be written.
    """
    num_classes = len(inputs["dataset"].read_json("info")["class_names"])
    with new_folder(target) as draft:
        model, dataset = (Folder(draft / name) for name in ("model", "dataset"))
        write_model(model, inputs, Synthesis.model_validate(synthesis.manifest.config["synthesis"]))
        model.path("README.md").write_text(model_card(synthesis, inputs), encoding="utf-8")
        images = dataset.path("data/train.parquet")
        shutil.copyfile(synthesis.root / "images.parquet", images)
        counts = np.bincount(pq.read_table(images, columns=["class_id"])["class_id"].to_numpy(), minlength=num_classes)
        card = dataset_card(synthesis, inputs, counts.tolist(), {"data/train.parquet": sha256(images)})
        dataset.path("README.md").write_text(card, encoding="utf-8")
