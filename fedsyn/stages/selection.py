"""Step 2b: keep the pseudo-labels that the global confusion matrices say are precise."""

import logging
from collections.abc import Mapping

import numpy as np

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Selection
from fedsyn.context import Context
from fedsyn.metrics.hidden import hidden_labels
from fedsyn.metrics.label_quality import estimate_quality, label_quality, share
from fedsyn.pseudo_labels.calibration import Calibration
from fedsyn.pseudo_labels.selection import choose_thresholds, fixed_thresholds, most_confident_share

logger = logging.getLogger(__name__)


def run(inputs: Mapping[str, Artifact], output: Folder, context: Context, *, selection: Selection) -> dict[str, float]:
    """Writes labels.parquet (each pseudo-label, its threshold, whether it is kept) and precision.parquet (by class)."""
    labels = inputs["pseudo_labels"].read_table("labels")
    counts = {name: value.numpy() for name, value in inputs["pseudo_labels"].read_tensors("counts").items()}
    grid, calibration = counts["grid"], Calibration(counts["confusion"], counts["samples"])
    pseudo_label, confidence = labels["pseudo_label"].to_numpy(), labels["confidence"].to_numpy()
    true = hidden_labels(inputs["partition"], labels["sample_id"])

    if selection.strategy == "threshold":
        thresholds = choose_thresholds(calibration, counts["predicted"], grid, selection)
    else:
        level = selection.fixed_confidence if selection.strategy == "fixed" else 0.0
        thresholds = fixed_thresholds(calibration, grid, level, selection)
    if selection.strategy == "oracle":  # a bound for comparison: the only reader of true labels that decides anything
        selected = pseudo_label == true
    elif selection.strategy == "class_precision":
        selected = most_confident_share(pseudo_label, confidence, thresholds.estimated_precision)
    else:
        selected = confidence >= np.nan_to_num(thresholds.confidence, nan=np.inf)[pseudo_label]

    labels = labels.assign(threshold=thresholds.confidence[pseudo_label], selected=selected)
    output.write_table("labels", labels, schemas.SELECTED_LABELS)
    quality = label_quality(pseudo_label, true, selected, len(thresholds.confidence))
    precision = quality.assign(
        threshold=thresholds.confidence,
        reached=thresholds.reached,
        calibration_samples=thresholds.calibration_samples,
        estimated_precision=thresholds.estimated_precision,
        lower_bound=thresholds.lower_bound,
    )
    output.write_table("precision", precision, schemas.PRECISION)
    if not selected.any():
        logger.warning(
            "selection: no pseudo-label was kept; the denoiser will see labelled images alone. Lower "
            "selection.min_per_class or selection.target_precision to keep some"
        )
    correct = pseudo_label == true
    return {
        "precision_before": share(correct.sum(), len(correct)),
        "precision": share((correct & selected).sum(), selected.sum()),
        "coverage": share(selected.sum(), len(selected)),
        "selected": int(selected.sum()),
        "classes_without_selection": int((quality["selected"] == 0).sum()),
        **estimate_quality(precision),
    }
