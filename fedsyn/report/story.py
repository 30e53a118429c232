"""What was done, in plain words that follow the run's settings."""

from collections.abc import Mapping
from typing import cast

from fedsyn.config import Autoencoder, Classifier, Denoiser, Partition, PseudoLabels, Retrain, Selection, Synthesis
from fedsyn.report.evidence import Evidence
from fedsyn.report.text import count, percent

BOUNDARY = (
    "The server never sees an image, nor the label of one. What leaves a client is model weights, its mean loss,"
    " integer counts (confusion matrices, predictions above a confidence, labels per class), and sums of latents (where"
    " these are principal components, also sums of images and of products of their pixels);"
    " where predictions are scaled or aligned, also sums of log losses or of predicted probabilities, or an estimate of"
    " its own class mixture."
    " This report looks further than any server could: it opens hidden labels and images, to judge the run"
    " and for nothing else."
)
SPREAD = {"iid": "evenly", "dirichlet": "unevenly"}
CALIBRATION = {
    "held_out": "{count} of the labels are held out for calibration",
    "train": "calibration uses the labels of the training",
    "cross_fit": "calibration uses every label, each predicted by a classifier that has not seen it ({folds} folds)",
}
SELECTION = {
    "threshold": ("keep, for each class, those above a confidence at which the estimated precision reaches {target}"),
    "fixed": "keep those of a confidence of at least {fixed:.2f}",
    "class_precision": ("keep, for each class, the most confident share, as large as the class's estimated precision"),
    "none": "keep all of them",
    "oracle": "keep the correct ones, by an oracle that no real federation has",
}
ADJUSTMENT = {
    "none": "",
    "client": ", logits adjusted by each client's labels",
    "global": ", logits adjusted by the labels of all clients",
}
ALIGNMENT = {
    "none": "",
    "global": ", align the predictions to the labels of all clients",
    "client": ", align the predictions to each client's own class mixture",
}
TARGET = {
    "absent": "the classes of which it has no label",
    "balance": "every class up to an equal number",
    "global": "what its classes lack of the global proportions",
    "fixed": "a fixed number of images of every class",
}


def story(evidence: Evidence, numbers: Mapping[str, float]) -> str:
    """One paragraph: the five steps with this run's numbers and choices."""
    partition = cast(Partition, evidence.settings["partition"])
    classifier = cast(Classifier, evidence.settings["classifier"])
    pseudo_labels = cast(PseudoLabels, evidence.settings["pseudo_labels"])
    selection = cast(Selection, evidence.settings["selection"])
    pixels = cast(Autoencoder, evidence.settings["autoencoder"]).kind == "pixel"
    flow = cast(Denoiser, evidence.settings["denoiser"]).prediction == "flow"
    synthesis = cast(Synthesis, evidence.settings["synthesis"])
    retrain = cast(Retrain, evidence.settings["retrain"])
    num_clients, num_classes = evidence.labeled.shape
    weights = "step-1 weights" if evidence.cycles == 1 else "earlier weights"
    again = (
        f" From the labelling on, this is done {evidence.cycles:,} times, each time with the classifier that was"
        " trained the time before; the numbers are those of the last time."
    )
    shared = ", dealt out of one pool of fewer different ones" if synthesis.shared_pool else ""
    held_out = CALIBRATION[pseudo_labels.calibration].format(
        count=f"{evidence.calibration.sum():,}", folds=pseudo_labels.folds
    )
    kept = SELECTION[selection.strategy].format(
        target=percent(selection.target_precision, 0), fixed=selection.fixed_confidence
    )
    return (
        f"{num_clients:,} clients hold {evidence.labeled.sum():,} labelled images of {num_classes} classes,"
        f" spread {SPREAD[partition.labeled]}, and {evidence.unlabeled.sum():,} unlabelled ones, spread"
        f" {SPREAD[partition.unlabeled]}; {held_out}. They train a classifier together"
        f" ({classifier.server.algorithm}{ADJUSTMENT[classifier.logit_adjustment]}) over {classifier.rounds:,} rounds,"
        f" let it label their unlabelled images{ALIGNMENT[pseudo_labels.distribution_alignment]}, and {kept}."
        " On labelled and kept images together they train a"
        f" class-conditional {'' if pixels else 'latent '}{'flow-matching' if flow else 'diffusion'} model, with which"
        " each client synthesises"
        f" {TARGET[synthesis.target]}: {count(numbers['images_generated'])} images in all{shared}. Then the"
        " classifier is trained again,"
        f" {f'from its {weights}' if retrain.warm_start else 'from scratch'}, on"
        f" labelled{', pseudo-labelled' if retrain.include_pseudo_labels else ''} and synthetic images."
        f"{again if evidence.cycles > 1 else ''}"
    )
