"""Step 2a: every client labels its unlabelled samples, and calibration labels say how far that can be trusted."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Classifier, PseudoLabels
from fedsyn.context import Context
from fedsyn.federated import privacy
from fedsyn.federated.classification import logits_by_client
from fedsyn.models.initialize import initialize
from fedsyn.pseudo_labels.alignment import smoothed_prior
from fedsyn.pseudo_labels.confusion import counts_by_threshold
from fedsyn.pseudo_labels.cross_fit import cross_fit, fold_of_each
from fedsyn.pseudo_labels.labeling import Predictions, by_client, label
from fedsyn.pseudo_labels.temperature import TEMPERATURES, best_temperature, log_loss_sums
from fedsyn.stages.classifier import build, count_clients, load_classifier

logger = logging.getLogger(__name__)

ROLES = {"held_out": "calibration", "train": "labeled", "cross_fit": "labeled"}
"""Whose labels calibrate."""

UNTRUSTWORTHY = 0.5
"""Accuracy below which a classifier's class mixtures are not believed."""


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
    samples; with `client` alignment without any client's mixture), counts.safetensors (M_g^t, the calibration samples
    behind each precision, and the predictions per t and class) and calibration.json (temperature, class weights).

    Raises:
        ValueError: `cross_fit` has labelled samples in one fold only.
    """
    info = inputs["dataset"].read_json("info")
    num_classes = len(info["class_names"])
    images = inputs["dataset"].read_tensors("images")["images"]
    assignments = inputs["partition"].read_table("assignments")
    model = load_classifier(inputs["classifier"], info).to(context.device)
    grid, metrics = np.asarray(pseudo_labels.confidence_grid), dict[str, float]()

    def predict(rows: pd.DataFrame) -> np.ndarray:
        return logits_by_client(model, images, rows["sample_id"].to_numpy(), rows["client_id"].to_numpy(), num_classes)

    def untrained() -> nn.Module:
        fresh = build(classifier, info)
        initialize(fresh, seed, "classifier")
        return fresh

    unlabeled = assignments[assignments["role"] == "unlabeled"]
    known = assignments[assignments["role"] == ROLES[pseudo_labels.calibration]]
    owner, true = known["client_id"].to_numpy(np.int64), known["label"].to_numpy(np.int64)
    if len(known) == 0:
        logger.warning(
            "pseudo_labels: no client has a calibration sample, so no precision can be estimated; raise "
            "partition.calibration_fraction, or choose pseudo_labels.calibration 'cross_fit'"
        )
    if pseudo_labels.calibration == "cross_fit":
        fold = fold_of_each(owner, true, pseudo_labels.folds, seed)
        pool = images[torch.tensor(known["sample_id"].to_numpy())].to(context.device)
        target = torch.from_numpy(true).to(context.device)
        sizes = {"num_clients": count_clients(inputs), "num_classes": num_classes}
        outputs = cross_fit(untrained, pool, target, owner, fold, classifier, context, seed=seed, **sizes)
        metrics |= privacy.spent(classifier.model_copy(update={"rounds": classifier.rounds * len(np.unique(fold))}))
    else:
        outputs = predict(known)

    temperature = 1.0
    if pseudo_labels.temperature_scaling:
        sums = np.zeros(len(TEMPERATURES))
        for own in by_client(owner):
            sums += log_loss_sums(outputs[own], true[own])
        temperature = best_temperature(sums)
        metrics["temperature"] = temperature

    every_label = assignments.loc[assignments["role"].isin(["labeled", "calibration"]), "label"].to_numpy(np.int64)
    found = label(
        Predictions.of(predict(unlabeled), temperature, unlabeled["client_id"].to_numpy(np.int64)),
        Predictions.of(outputs, temperature, owner),
        true,
        smoothed_prior(np.bincount(every_label, minlength=num_classes)),
        pseudo_labels,
    )
    counts = np.zeros((len(grid), num_classes), dtype=np.int64)
    predicted, confidence = found.unlabeled.best()
    for own in by_client(found.unlabeled.owner):
        counts += counts_by_threshold(predicted[own], confidence[own], grid, num_classes)

    output.write_table("labels", unlabeled.assign(pseudo_label=predicted, confidence=confidence), schemas.PSEUDO_LABELS)
    judged, certainty = found.known.best()
    output.write_table("calibration", known.assign(pseudo_label=judged, confidence=certainty), schemas.CALIBRATION)
    matrices, samples = found.calibration.matrices, found.calibration.samples
    tensors = {"confusion": matrices, "samples": samples, "predicted": counts, "grid": grid}
    output.write_tensors("counts", {name: torch.tensor(value) for name, value in tensors.items()})
    output.write_json("calibration", {"temperature": temperature, "class_weights": found.class_weights})
    accuracy = float(np.trace(matrices[0]) / matrices[0].sum()) if len(known) else 0.0
    if pseudo_labels.distribution_alignment == "client":
        plain = float((true == judged).mean()) if len(known) else 0.0
        metrics["calibration_accuracy_without_mixtures"] = plain
        if plain < UNTRUSTWORTHY:
            logger.warning(
                "pseudo_labels: the classifier is right about %.0f %% of the calibration samples; class mixtures that "
                "it estimates are not to be trusted, nor is a precision that follows from them; train it longer, or "
                "set pseudo_labels.distribution_alignment 'none'",
                100 * plain,
            )
    return metrics | {
        "predicted": len(unlabeled),
        "calibration_samples": len(known),
        "calibration_accuracy": accuracy,
    }
