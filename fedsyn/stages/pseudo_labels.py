"""Step 2a: every client labels its unlabelled samples, and counts confusion matrices on its calibration labels."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from fedsyn import interruption, schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Classifier, PseudoLabels
from fedsyn.context import Context
from fedsyn.federated.classification import probabilities
from fedsyn.pseudo_labels.confusion import confusion_matrices, counts_by_threshold
from fedsyn.stages.classifier import load_classifier


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    classifier: Classifier,
    pseudo_labels: PseudoLabels,
) -> dict[str, float]:
    """Writes labels.parquet (each prediction and its confidence), calibration.parquet (the same for the calibration
    samples) and counts.safetensors (M_g^t and the predictions per t and class)."""
    info = inputs["dataset"].read_json("info")
    num_classes = len(info["class_names"])
    images = inputs["dataset"].read_tensors("images")["images"]
    assignments = inputs["partition"].read_table("assignments")
    model = load_classifier(inputs["classifier"], info).to(context.device)
    grid = np.asarray(pseudo_labels.confidence_grid)

    def predict(role: str) -> pd.DataFrame:
        parts = [assignments.iloc[:0].assign(pseudo_label=np.int64(), confidence=np.float32())]
        for _, own in assignments[assignments["role"] == role].groupby("client_id"):
            interruption.check()
            outputs = probabilities(model, images[torch.tensor(own["sample_id"].to_numpy())].to(context.device))
            confidence, label = outputs.max(1)
            parts.append(own.assign(pseudo_label=label.cpu().numpy(), confidence=confidence.cpu().numpy()))
        return pd.concat(parts).sort_index()

    predicted = predict("unlabeled")
    known = predict("calibration" if pseudo_labels.calibration == "held_out" else "labeled")
    matrices = np.zeros((len(grid), num_classes, num_classes), dtype=np.int64)
    for _, own in known.groupby("client_id"):  # M_g^t = sum_k M_k^t
        true, label = own["label"].to_numpy(np.int64), own["pseudo_label"].to_numpy()
        matrices += confusion_matrices(true, label, own["confidence"].to_numpy(), grid, num_classes)
    counts = np.zeros((len(grid), num_classes), dtype=np.int64)
    for _, own in predicted.groupby("client_id"):
        label = own["pseudo_label"].to_numpy()
        counts += counts_by_threshold(label, own["confidence"].to_numpy(), grid, num_classes)

    output.write_table("labels", predicted, schemas.PSEUDO_LABELS)
    output.write_table("calibration", known, schemas.CALIBRATION)
    tensors = {"confusion": matrices, "predicted": counts, "grid": grid}
    output.write_tensors("counts", {name: torch.tensor(value) for name, value in tensors.items()})
    accuracy = float((known["label"] == known["pseudo_label"]).mean()) if len(known) else 0.0
    return {"predicted": len(predicted), "calibration_samples": len(known), "calibration_accuracy": accuracy}
