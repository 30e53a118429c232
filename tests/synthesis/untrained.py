"""The inputs of the synthesis stage by hand: models that nobody has trained, and four clients of three classes.

Client k has k labels of class 0 and one of class 1; client 0 also has a selected pseudo-label of class 1 and one of
class 2 that was not selected, client 3 a selected one of class 2.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder, Input, Store
from fedsyn.config import Autoencoder, Classifier, Denoiser, Synthesis
from fedsyn.context import Context
from fedsyn.models.autoencoder import build_autoencoder
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize
from fedsyn.stages.autoencoder import save_autoencoder
from fedsyn.stages.classifier import ARCHITECTURE, build
from fedsyn.stages.synthesis import run
from tests import handmade

INFO = {"name": "handmade", "class_names": ["cat", "dog", "owl"], "height": 6, "width": 6, "channels": 1}
CLIENTS = 4
AUTOENCODER = Autoencoder(channels=(8,), unshuffle=2, latent_channels=2)
CLASSIFIER = Classifier(width=8)
LABELS = [(client_id, 0) for client_id in range(CLIENTS) for _ in range(client_id)] + [(k, 1) for k in range(CLIENTS)]
PSEUDO_LABELS = [(0, 1, True), (0, 2, False), (3, 2, True)]


def publish_inputs(
    store: Store,
    denoiser: Denoiser = Denoiser(channels=(8, 16), attention=False),  # noqa: B008 (frozen)
    keys: Mapping[str, str] | None = None,
    autoencoder: Autoencoder = AUTOENCODER,
) -> dict[str, Artifact]:
    """Everything that the synthesis stage reads, in a store."""
    codec = build_autoencoder(autoencoder, INFO["channels"], INFO["height"], INFO["width"])
    if autoencoder.kind == "kl":
        initialize(codec, 0, "autoencoder")
    handmade.fill(codec)
    channels, size, _ = codec.latent_shape
    writers: dict[str, Callable[[Folder], None]] = {
        "dataset": lambda folder: folder.write_json("info", INFO),
        "partition": _write_partition,
        "classifier": _write_classifier,
        "selection": _write_selection,
        "autoencoder": lambda folder: save_autoencoder(folder, codec, autoencoder.kind),
        "latents": lambda folder: folder.write_tensors(
            "moments", {"mean": torch.linspace(0.5, -0.25, channels), "std": torch.linspace(1.5, 0.75, channels)}
        ),
        "denoiser": lambda folder: _write_denoiser(folder, denoiser, channels, size),
    }
    return {
        name: handmade.publish(
            store, write, name, (keys or {}).get(name, handmade.KEY), metrics={"training_images": len(LABELS) + 2}
        )
        for name, write in writers.items()
    }


def publish_synthesis(
    store: Store, inputs: Mapping[str, Artifact], seed: int = 0, key: str = handmade.KEY, **settings: object
) -> Artifact:
    """What the synthesis stage makes of these inputs, in a store."""
    synthesis = Synthesis.model_validate({"target": "fixed", "per_class": 2, "steps": 3, **settings})
    with store.work("synthesis", key) as work:
        context = Context("synthesis", torch.device("cpu"), work.checkpoints)
        metrics = run(inputs, work.draft, context, seed=seed, synthesis=synthesis)
        manifest = handmade.manifest(
            work.draft,
            "synthesis",
            key,
            seed=seed,
            inputs=as_read(inputs),
            config={"seed": seed, "synthesis": synthesis.key_fields()},
            metrics=metrics,
        )
        return store.publish(work.draft, manifest)


def as_read(inputs: Mapping[str, Artifact]) -> dict[str, Input]:
    """What a manifest says of its inputs."""
    return {
        name: Input(key=artifact.manifest.key, digest=artifact.manifest.digest) for name, artifact in inputs.items()
    }


def _write_partition(folder: Folder) -> None:
    rows = [(*pair, "labeled") for pair in LABELS] + [(client_id, None, "unlabeled") for client_id, *_ in PSEUDO_LABELS]
    table = pd.DataFrame(rows, columns=["client_id", "label", "role"]).astype({"label": "Int16"})
    folder.write_table("assignments", table.assign(sample_id=np.arange(len(table))), schemas.ASSIGNMENTS)
    folder.write_json("summary", {"num_clients": CLIENTS})


def _write_selection(folder: Folder) -> None:
    table = pd.DataFrame(PSEUDO_LABELS, columns=["client_id", "pseudo_label", "selected"])
    table = table.assign(sample_id=len(LABELS) + np.arange(len(table)), confidence=0.9, threshold=0.5)
    folder.write_table("labels", table, schemas.SELECTED_LABELS)


def _write_classifier(folder: Folder) -> None:
    model = build(CLASSIFIER, INFO)
    initialize(model, 0, "classifier")
    folder.write_tensors("model", model.state_dict())
    folder.write_json("model", {name: getattr(CLASSIFIER, name) for name in ARCHITECTURE})


def _write_denoiser(folder: Folder, settings: Denoiser, channels: int, size: int) -> None:
    model = build_denoiser(settings, channels, size, len(INFO["class_names"]))
    initialize(model, 0, "denoiser")
    handmade.fill(model)
    model.save_pretrained(folder.root / "unet")
    noise_scheduler(settings).save_pretrained(folder.root / "scheduler")
