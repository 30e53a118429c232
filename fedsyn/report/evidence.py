"""Everything that a report says, read once from the artifacts of a run into plain arrays and tables.

Only files, keys and metrics are read, never a manifest's times, device or libraries: two runs with the same
results have the same report, to the byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import torch

from fedsyn.artifacts import Artifact
from fedsyn.config import Retrain, Section, Synthesis
from fedsyn.metrics.accuracy import confusion_matrix, paired_gain
from fedsyn.metrics.hidden import hidden_labels
from fedsyn.pseudo_labels.confusion import confusion_matrices
from fedsyn.randomness import generator
from fedsyn.report.pictures import decode

ROLES = ("labeled", "calibration", "unlabeled")
TRAININGS = ("classifier", "retrain", "autoencoder", "denoiser")


@dataclass(frozen=True)
class Trace:
    """Where numbers come from: the stage, its key, the digest of its files, and its metrics."""

    stage: str
    key: str
    digest: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Evidence:
    """What a run left behind. K clients, C classes."""

    seed: int
    settings: Mapping[str, Section]  # by name of the section
    info: Mapping[str, Any]  # the data set's
    traces: tuple[Trace, ...]
    training: np.ndarray  # (K, C) images of role labeled
    calibration: np.ndarray  # (K, C) images of role calibration
    unlabeled: np.ndarray  # (K, C) by their hidden labels
    moved: int  # images moved to reach the least number per client
    confusion_before: np.ndarray  # (C, C) on the test set, labels only
    confusion_after: np.ndarray  # (C, C) on the test set, retrained
    fixed: int  # test images that only the retrained classifier gets right
    broken: int  # and those that only the first one did
    gain_half_width: float  # of the gain's 95 % interval, from the finite test set alone
    precision: pd.DataFrame  # one row a class
    calibration_samples: int
    grid: np.ndarray  # (T,) confidences t
    calibration_matrices: np.ndarray  # (T, C, C) M_g^t, as the selection has read them
    hidden_matrices: np.ndarray  # (T, C, C) the same of the unlabelled images, by their hidden labels
    plan: pd.DataFrame  # one row for each client and class
    histories: Mapping[str, pd.DataFrame]  # classifier, retrain, autoencoder, denoiser
    real: tuple[np.ndarray, ...]  # for each class (n, H, W, channels) uint8
    synthetic: tuple[np.ndarray, ...]
    image_quality: pd.DataFrame  # of the synthetic images, one row a class
    image_scores: Mapping[str, Mapping]  # by feature space, of synthetic and of real images
    nearest: tuple[np.ndarray, ...]  # for each class pairs (n, H, 2 W, channels) uint8: synthetic, and nearest training
    reconstructions: Mapping[str, np.ndarray]  # original, reconstruction: (n, H, W, channels) uint8

    @property
    def labeled(self) -> np.ndarray:
        """All labelled images (K, C), whether they train or calibrate."""
        return self.training + self.calibration

    @property
    def kept_share(self) -> np.ndarray:
        """The coverage of each class that keeps something (C,); NaN of the others."""
        return self.precision["coverage"].where(self.precision["selected"] > 0).to_numpy(np.float64)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, by class id."""
        return list(self.info["class_names"])

    @property
    def cycles(self) -> int:
        """How often steps 2 to 5 were taken; what is here is of the last time."""
        return cast(Retrain, self.settings["retrain"]).cycles

    @property
    def labeler(self) -> str:
        """The classifier that labelled, and judged the synthetic images, in words."""
        return "step-1 classifier" if self.cycles == 1 else f"classifier of cycle {self.cycles - 1}"

    def metrics(self, stage: str) -> dict[str, float]:
        """The metrics of a stage; empty where the run has no such stage."""
        return next((trace.metrics for trace in self.traces if trace.stage == stage), {})


def gather(
    inputs: Mapping[str, Artifact], settings: Mapping[str, Section], seed: int, images_per_class: int
) -> Evidence:
    """Read the artifacts of a run."""
    info = inputs["dataset"].read_json("info")
    summary = inputs["partition"].read_json("summary")
    assignments = inputs["partition"].read_table("assignments")
    shape = (summary["num_clients"], len(info["class_names"]))
    by_role = {role: assignments[assignments["role"] == role] for role in ROLES}
    hidden = hidden_labels(inputs["partition"], by_role["unlabeled"]["sample_id"])

    labels, counts = inputs["pseudo_labels"].read_table("labels"), inputs["pseudo_labels"].read_tensors("counts")
    grid, confidence = counts["grid"].numpy(), labels["confidence"].to_numpy()
    labeled_as = hidden_labels(inputs["partition"], labels["sample_id"]), labels["pseudo_label"].to_numpy()

    test = assignments.loc[assignments["role"] == "test"].set_index("sample_id")["label"].astype(np.int64)
    before, after = (_predictions(inputs[name], test.index) for name in ("classifier", "retrain"))
    true = test.to_numpy()
    fixed, broken, half_width = paired_gain(true, before, after)
    pictures = inputs["autoencoder"].read_tensors("reconstructions")

    return Evidence(
        seed=seed,
        settings=settings,
        info=info,
        traces=tuple(
            Trace(name, artifact.manifest.key, artifact.manifest.digest, dict(artifact.manifest.metrics))
            for name, artifact in inputs.items()
        ),
        training=_count(by_role["labeled"], by_role["labeled"]["label"].to_numpy(np.int64), shape),
        calibration=_count(by_role["calibration"], by_role["calibration"]["label"].to_numpy(np.int64), shape),
        unlabeled=_count(by_role["unlabeled"], hidden, shape),
        moved=sum(len(moves) for moves in summary["moves"].values()),
        confusion_before=confusion_matrix(true, before, shape[1]),
        confusion_after=confusion_matrix(true, after, shape[1]),
        fixed=fixed,
        broken=broken,
        gain_half_width=half_width,
        precision=inputs["selection"].read_table("precision"),
        calibration_samples=len(inputs["pseudo_labels"].read_table("calibration")),
        grid=grid,
        calibration_matrices=counts["confusion"].numpy(),
        hidden_matrices=confusion_matrices(*labeled_as, confidence, grid, shape[1]),
        plan=inputs["synthesis"].read_table("plan"),
        histories={name: inputs[name].read_table("history") for name in TRAININGS},
        real=_real_images(inputs["dataset"], by_role["labeled"], shape[1], seed, images_per_class),
        synthetic=_synthetic_images(
            inputs["synthesis"].root / "images.parquet",
            info,
            shape[1],
            seed,
            images_per_class,
            shared=cast(Synthesis, settings["synthesis"]).shared_pool,
        ),
        image_quality=inputs["quality"].read_table("per_class"),
        image_scores=inputs["quality"].read_json("scores")["spaces"],
        nearest=_nearest_pairs(inputs, info, shape[1], images_per_class),
        reconstructions={name: value.numpy() for name, value in pictures.items()},
    )


def _predictions(artifact: Artifact, sample_ids: pd.Index) -> np.ndarray:
    table = artifact.read_table("test_predictions").set_index("sample_id")["prediction"]
    return table.loc[sample_ids].to_numpy(np.int64)


def _count(rows: pd.DataFrame, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (rows["client_id"].to_numpy(np.int64), labels), 1)
    return counts


def _real_images(
    dataset: Artifact, labeled: pd.DataFrame, num_classes: int, seed: int, most: int
) -> tuple[np.ndarray, ...]:
    images = dataset.read_tensors("images")["images"]
    label, sample_id = labeled["label"].to_numpy(np.int64), labeled["sample_id"].to_numpy()
    drawn = []
    for class_id in range(num_classes):
        chosen = _draw(sample_id[label == class_id], seed, "real images", class_id, most)
        drawn.append(images[torch.from_numpy(chosen)].numpy())
    return tuple(drawn)


def _synthetic_images(
    path: Path, info: Mapping[str, Any], num_classes: int, seed: int, most: int, *, shared: bool
) -> tuple[np.ndarray, ...]:
    rows = pq.read_table(path, columns=["class_id", "index"]).to_pandas()
    class_ids = rows["class_id"].to_numpy()
    if shared:  # one row of each picture, not one for each client that has it
        class_ids = np.where(rows.duplicated(), -1, class_ids)
    chosen = (
        _draw(np.flatnonzero(class_ids == class_id), seed, "synthetic images", class_id, most)
        for class_id in range(num_classes)
    )
    return tuple(_stored_images(path, info, rows) for rows in chosen)


def _stored_images(path: Path, info: Mapping[str, Any], rows: np.ndarray) -> np.ndarray:
    """These rows' images (n, H, W, channels); no others are read."""
    stored = pyarrow.dataset.dataset(path)
    column = stored.take(rows, columns=["image"])["image"].to_pylist() if len(rows) else []
    shape = (info["height"], info["width"], info["channels"])
    return np.array([decode(image["bytes"]) for image in column], np.uint8).reshape(-1, *shape)


def _nearest_pairs(
    inputs: Mapping[str, Artifact], info: Mapping[str, Any], num_classes: int, most: int
) -> tuple[np.ndarray, ...]:
    """For each class the synthetic images that look most like a copy, each beside its nearest training image."""
    images = inputs["dataset"].read_tensors("images")["images"]
    table = inputs["quality"].read_table("nearest").sort_values(["ratio", "row"])
    pairs = []
    for class_id in range(num_classes):
        found = table[table["class_id"] == class_id].head(most)
        made = _stored_images(inputs["synthesis"].root / "images.parquet", info, found["row"].to_numpy(np.int64))
        known = images[torch.tensor(found["sample_id"].to_numpy(np.int64))].numpy()
        pairs.append(np.concatenate([made, known], axis=2))
    return tuple(pairs)


def _draw(candidates: np.ndarray, seed: int, purpose: str, class_id: int, most: int) -> np.ndarray:
    """At most `most` of the candidates, without replacement, in their own order."""
    draw = generator(seed, "report", purpose, class_id=class_id)
    return np.sort(draw.choice(candidates, size=min(most, len(candidates)), replace=False))
