"""Read a data set once, into plain tensors that every later stage maps from disk."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Dataset
from fedsyn.context import Context
from fedsyn.data.catalogue import load


def run(inputs: Mapping[str, Artifact], output: Folder, context: Context, *, dataset: Dataset) -> dict[str, float]:
    """Writes images.safetensors (N, H, W, C) uint8, labels.parquet and info.json; training images come first."""
    loaded = load(dataset)
    output.write_tensors("images", {"images": torch.from_numpy(loaded.images)})
    table = pd.DataFrame({"sample_id": np.arange(len(loaded.labels)), "label": loaded.labels})
    output.write_table("labels", table, schemas.LABELS)
    _, height, width, channels = loaded.images.shape
    info = {
        "name": dataset.name,
        "class_names": list(loaded.class_names),
        "num_train": loaded.num_train,
        "num_test": len(loaded.labels) - loaded.num_train,
        "height": height,
        "width": width,
        "channels": channels,
    }
    output.write_json("info", info)
    return {"train_images": loaded.num_train, "test_images": info["num_test"]}
