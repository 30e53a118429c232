"""The report's two tables and its headline numbers."""

import numpy as np
import pandas as pd

from fedsyn.metrics.accuracy import accuracy, class_accuracy, client_accuracy
from fedsyn.metrics.label_quality import share
from fedsyn.report.evidence import Evidence

MEASURES = (
    "frechet_distance", "kernel_distance", "prediction_score", "precision", "recall", "density", "coverage"
)  # fmt: skip
"""Of a feature space, as they are read."""


def per_class(evidence: Evidence) -> pd.DataFrame:
    """One row a class: accuracy of both classifiers, quality of the pseudo-labels, synthetic images."""
    before, after = class_accuracy(evidence.confusion_before), class_accuracy(evidence.confusion_after)
    made = evidence.plan.groupby("class_id")[["to_generate", "kept"]].sum()
    quality = evidence.precision.sort_values("class_id", ignore_index=True)
    columns = {
        "class_id": np.arange(len(evidence.class_names)),
        "class_name": evidence.class_names,
        "test_images": evidence.confusion_before.sum(axis=1),
        "labels_only_accuracy": before,
        "retrained_accuracy": after,
        "change": after - before,
        "labeled": evidence.labeled.sum(axis=0),
        **{
            name: quality[name].to_numpy()
            for name in (
                "predicted", "selected", "true_precision_before", "true_precision", "estimated_precision",
                "lower_bound", "coverage", "recall_before", "recall",
            )
        },
        "generated": made["to_generate"].to_numpy(),
        "kept": made["kept"].to_numpy(),
    }  # fmt: skip
    return pd.DataFrame(columns)


def per_client(evidence: Evidence) -> pd.DataFrame:
    """One row a client: what it holds, what was made for it, and accuracy under its own label mixture."""
    before, after = (
        client_accuracy(evidence.labeled, class_accuracy(confusion))
        for confusion in (evidence.confusion_before, evidence.confusion_after)
    )
    made = evidence.plan.groupby("client_id")[["to_generate", "kept"]].sum()
    columns = {
        "client_id": np.arange(len(evidence.labeled)),
        "labeled": evidence.labeled.sum(axis=1),
        "calibration": evidence.calibration.sum(axis=1),
        "labeled_classes": (evidence.labeled > 0).sum(axis=1),
        "unlabeled": evidence.unlabeled.sum(axis=1),
        "generated": made["to_generate"].to_numpy(),
        "kept": made["kept"].to_numpy(),
        "labels_only_accuracy": before,
        "retrained_accuracy": after,
        "change": after - before,
    }
    return pd.DataFrame(columns)


def image_measures(evidence: Evidence) -> pd.DataFrame:
    """One row for each feature space and measure of the synthetic images: `space`, `measure`, `better`, and its value
    for `synthetic` images and for `real` ones, as many of each class."""
    rows = [
        {
            "space": space,
            "measure": measure.replace("_", " ").replace("frechet", "Fréchet"),
            "better": "lower" if measure.endswith("distance") else "higher",
            **{kind: np.nan if values[measure] is None else values[measure] for kind, values in kinds.items()},
        }
        for space, kinds in evidence.image_scores.items()
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=["space", "measure", "better", "synthetic", "real"])


def headline(evidence: Evidence) -> dict[str, float]:
    """The numbers of the run: shares as fractions, `test_psnr_db` in dB, NaN where nothing was counted."""
    before, after = accuracy(evidence.confusion_before), accuracy(evidence.confusion_after)
    central = _of_stage(evidence, "bounds", "central_test_accuracy")
    classes, clients, quality = per_class(evidence), per_client(evidence), evidence.precision
    predicted, selected = quality["predicted"], quality["selected"]
    correct_before = (predicted * quality["true_precision_before"].fillna(0)).sum()
    correct = (selected * quality["true_precision"].fillna(0)).sum()
    return {
        "labels_only_accuracy": before,
        "retrained_accuracy": after,
        "gain": after - before,
        "self_training_accuracy": _of_stage(evidence, "self_training", "test_accuracy"),
        "all_labels_accuracy": _of_stage(evidence, "bounds", "all_labels_test_accuracy"),
        "central_accuracy": central,
        "gap_closed": (after - before) / (central - before) if central > before else float("nan"),
        "gain_half_width_test_set": evidence.gain_half_width,
        "test_images": float(evidence.confusion_before.sum()),
        "test_images_fixed": float(evidence.fixed),
        "test_images_broken": float(evidence.broken),
        "labels_only_worst_class_accuracy": _least(classes["labels_only_accuracy"]),
        "retrained_worst_class_accuracy": _least(classes["retrained_accuracy"]),
        "labels_only_mean_client_accuracy": float(clients["labels_only_accuracy"].mean()),
        "retrained_mean_client_accuracy": float(clients["retrained_accuracy"].mean()),
        "pseudo_label_precision_before": float(share(correct_before, predicted.sum())),
        "pseudo_label_precision": float(share(correct, selected.sum())),
        "coverage": float(share(selected.sum(), predicted.sum())),
        "pseudo_labels_kept": float(selected.sum()),
        "classes_without_selection": float((selected == 0).sum()),
        "calibration_samples": float(evidence.calibration_samples),
        "images_generated": float(evidence.plan["to_generate"].sum()),
        "images_kept": float(evidence.plan["kept"].sum()),
        "classifier_agreement": _of_stage(evidence, "synthesis", "classifier_agreement"),
        "test_psnr_db": _of_stage(evidence, "autoencoder", "test_psnr_db"),
        "test_ssim": _of_stage(evidence, "autoencoder", "test_ssim"),
        **{
            name: _of_stage(evidence, "quality", name)
            for measure in ("class_agreement", "classification_accuracy", "judge_frechet_distance", "memorised_share")
            for name in (measure, f"{measure}_real")
        },
        "least_diversity": _of_stage(evidence, "quality", "least_diversity"),
    }


def _least(values: pd.Series) -> float:
    return float(values.min())


def _of_stage(evidence: Evidence, stage: str, metric: str) -> float:
    """A stage's metric; NaN where it was not asked for."""
    return evidence.metrics(stage).get(metric, float("nan"))
