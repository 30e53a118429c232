"""Artifacts made by hand, published through the real store."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import torch
from torch import nn

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Attempt, Folder, Input, Manifest, Store
from fedsyn.artifacts.manifest import describe

KEY = "0123456789abcdef01234567"
MOMENT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
ATTEMPT = Attempt(started=MOMENT, device="cpu", threads=1, engine="sequential", libraries={"numpy": "2.0"})


def manifest(draft: Folder, stage: str = "stage", key: str = KEY, **changes: object) -> Manifest:
    """The manifest of what lies in `draft`."""
    fields: dict = {
        "stage": stage,
        "version": 1,
        "key": key,
        "config": {"answer": 42},
        "seed": 0,
        "inputs": {},
        "fingerprint": None,
        "attempts": (ATTEMPT,),
        "seconds": 1.0,
        "finished": MOMENT,
        "metrics": {},
        "files": describe(draft.root),
    }
    return Manifest(**(fields | changes))


def publish(
    store: Store,
    write: Callable[[Folder], object],
    stage: str = "stage",
    key: str = KEY,
    inputs: Mapping[str, Input] | None = None,
    **changes: object,
) -> Artifact:
    """Publish what `write` writes."""
    with store.work(stage, key) as work:
        write(work.draft)
        return store.publish(work.draft, manifest(work.draft, stage, key, inputs=dict(inputs or {}), **changes))


def dataset(store: Store, labels: np.ndarray, num_train: int, num_classes: int) -> Artifact:
    """A data set of black images of one pixel with these labels, the training images first."""
    import torch

    def write(folder: Folder) -> None:
        folder.write_tensors("images", {"images": torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)})
        table = pd.DataFrame({"sample_id": np.arange(len(labels)), "label": labels.astype(np.int16)})
        folder.write_table("labels", table, schemas.LABELS)
        info = {
            "name": "handmade",
            "class_names": [f"class {class_id}" for class_id in range(num_classes)],
            "num_train": num_train,
            "num_test": len(labels) - num_train,
            "height": 1,
            "width": 1,
            "channels": 1,
        }
        folder.write_json("info", info)

    return publish(store, write, "dataset")


def fill(model: nn.Module) -> None:
    """Numbers by chance where a model that nobody has trained has nothing but zeros: it would answer nothing else."""
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        if not parameter.any():
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(parameter.shape))))
