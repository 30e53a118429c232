"""What was done, in plain words that follow the run's settings."""

from collections.abc import Mapping
from typing import cast

from fedsyn.config import Autoencoder, Classifier, Denoiser, Partition, Retrain, Selection, Synthesis
from fedsyn.report.evidence import Evidence
from fedsyn.report.text import count, percent

BOUNDARY = (
    "The server never sees an image, nor the label of one. What leaves a client is model weights, its mean loss,"
    " integer counts (confusion matrices, predictions above a confidence, labels per class), and sums of latents."
    " This report looks further than any server could: it opens hidden labels and images, to judge the run"
    " and for nothing else."
)
SPREAD = {"iid": "evenly", "dirichlet": "unevenly"}
SELECTION = {
    "threshold": ("keep, for each class, those above a confidence at which the estimated precision reaches {target}"),
    "fixed": "keep those of a confidence of at least {fixed:.2f}",
    "class_precision": ("keep, for each class, the most confident share, as large as the class's estimated precision"),
    "none": "keep all of them",
    "oracle": "keep the correct ones, by an oracle that no real federation has",
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
    kept = SELECTION[selection.strategy].format(
        target=percent(selection.target_precision, 0), fixed=selection.fixed_confidence
    )
    return (
        f"{num_clients:,} clients hold {evidence.labeled.sum():,} labelled images of {num_classes} classes,"
        f" spread {SPREAD[partition.labeled]}, and {evidence.unlabeled.sum():,} unlabelled ones, spread"
        f" {SPREAD[partition.unlabeled]}; {evidence.calibration.sum():,} of the labels are held out for"
        f" calibration. They train a classifier together ({classifier.server.algorithm}) over"
        f" {classifier.rounds:,} rounds, let it label their unlabelled images, and {kept}."
        " On labelled and kept images together they train a"
        f" class-conditional {'' if pixels else 'latent '}{'flow-matching' if flow else 'diffusion'} model, with which"
        " each client synthesises"
        f" {TARGET[synthesis.target]}: {count(numbers['images_generated'])} images in all{shared}. Then the"
        " classifier is trained again,"
        f" {f'from its {weights}' if retrain.warm_start else 'from scratch'}, on"
        f" labelled{', pseudo-labelled' if retrain.include_pseudo_labels else ''} and synthetic images."
        f"{again if evidence.cycles > 1 else ''}"
    )
