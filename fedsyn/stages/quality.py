"""How good the synthetic images are: by a judge's eyes, by what they teach, and by whether they are copies.

Every number stands beside the same number for real images, so that a reader knows what perfect images would score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Judge, Quality, Synthesis
from fedsyn.context import Context
from fedsyn.federated.classification import probabilities, train_classifier
from fedsyn.federated.client import Client
from fedsyn.metrics.accuracy import accuracy, class_accuracy, confusion_matrix
from fedsyn.metrics.comparison import compare
from fedsyn.metrics.distances import mean_pairwise_distance
from fedsyn.metrics.features import Embedding, Network, embed, judge_network
from fedsyn.metrics.inception import load_inception
from fedsyn.metrics.memorisation import nearest_training_images
from fedsyn.metrics.samples import common_counts, draw_at_most, draw_by_class
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import believed_samples, build, load_classifier
from fedsyn.stages.synthesis import load_images

JUDGE, INCEPTION = "judge features", "Inception features"


@dataclass(frozen=True)
class Images:
    """Images (N, H, W, C) uint8, the class of each (N,), and what each is called: a sample id, or a synthetic row."""

    pixels: Tensor
    labels: np.ndarray
    names: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Images":
        return Images(self.pixels[torch.tensor(rows)], self.labels[rows], self.names[rows])


@dataclass(frozen=True)
class Sets:
    """What is compared. C classes."""

    synthetic: Images  # all different ones, with the classes that were asked for
    test: Images  # the reference: no training has seen them
    training: Images  # all that are real and not test images
    known: Images  # those of them that trained the denoiser, with the labels that it was given
    compared: np.ndarray  # rows of `synthetic`, as many of each class as
    floor: np.ndarray  # rows of `training`
    reference: np.ndarray  # rows of `test`
    num_classes: int


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    synthesis: Synthesis,
    judge: Judge,
    quality: Quality,
) -> dict[str, float]:
    """Writes scores.json (all measures, of synthetic and of real images), per_class.parquet, and nearest.parquet and
    nearest_real.parquet: what the nearest training image of a synthetic and of a test image is.

    The reference is the test set. Real training images, as many of each class as of synthetic ones, are measured
    against it too: what perfect images would score. An image of a pool is measured once, however many clients have it.

    Raises:
        ValueError: `quality.inception` cannot be used.
    """
    info = inputs["dataset"].read_json("info")
    sets = _sets(inputs, len(info["class_names"]), seed, quality.most_images, pool=synthesis.shared_pool)
    inception = load_inception(Path(quality.inception), context.device) if quality.inception else None

    taught = _classification_accuracy(sets, info, judge, quality, context)
    eyes = judge_network(load_classifier(inputs["judge"], info).to(context.device))
    synthetic, test = (embed(eyes, images.pixels, context.device) for images in (sets.synthetic, sets.test))
    compared, reference = synthetic[sets.compared], test[sets.reference]
    floor = embed(eyes, sets.training[sets.floor].pixels, context.device)
    scores = {JUDGE: compare(reference, compared, floor, quality.neighbours)}
    if inception is not None:
        scores[INCEPTION] = _by_other_eyes(inception, sets, context.device, quality.neighbours)

    agreement = {
        "synthetic": _agreement(sets.synthetic, synthetic, sets.num_classes),
        "real": _agreement(sets.test, test, sets.num_classes),
    }
    copies = {
        "synthetic": _nearest(sets.synthetic, sets.known, quality, seed, context.device),
        "real": _nearest(sets.test, sets.known, quality, seed, context.device),
    }
    output.write_table("nearest", copies["synthetic"], schemas.NEAREST)
    output.write_table("nearest_real", copies["real"], schemas.NEAREST)
    classes = _per_class(sets, agreement, taught, copies, synthetic, test)
    output.write_table("per_class", classes, schemas.IMAGE_QUALITY)

    whole = {
        "class_agreement": {name: accuracy(confusion) for name, confusion in agreement.items()},
        "classification_accuracy": {name: accuracy(confusion) for name, confusion in taught.items()},
        "memorised_share": {name: float(table["memorised"].mean()) for name, table in copies.items()},
        "nearest_distance": {name: float(table["distance"].median()) for name, table in copies.items()},
    }
    sizes = {
        "synthetic": len(sets.synthetic.labels),
        "compared": len(sets.compared),
        "reference": len(sets.reference),
        "denoiser_training": len(sets.known.labels),
        "looked_up": len(copies["synthetic"]),
    }
    output.write_json("scores", _without_nan({"spaces": scores, "whole": whole, "images": sizes}))
    return _metrics(scores, whole) | {
        "least_diversity": float(classes["relative_diversity"].min()),
        "compared_images": sizes["compared"],
    }


def _sets(inputs: Mapping[str, Artifact], num_classes: int, seed: int, most: int, *, pool: bool) -> Sets:
    pixels = inputs["dataset"].read_tensors("images")["images"]
    labels = inputs["dataset"].read_table("labels")["label"].to_numpy(np.int64)
    num_train = inputs["dataset"].read_json("info")["num_train"]
    real = Images(pixels, labels, np.arange(len(labels)))
    training, test = real[np.arange(num_train)], real[np.arange(num_train, len(labels))]
    believed = believed_samples(inputs)
    known = real[believed["sample_id"].to_numpy()]
    made, rows = load_images(inputs["synthesis"])
    synthetic = Images(made, rows["class_id"].to_numpy(np.int64), np.arange(len(rows)))
    if pool:
        synthetic = synthetic[np.flatnonzero(~rows.duplicated(["class_id", "index"]))]

    made_of_each, real_of_each = (np.bincount(images.labels, minlength=num_classes) for images in (synthetic, training))
    counts = common_counts(made_of_each, real_of_each, most)
    return Sets(
        synthetic,
        test,
        training,
        Images(known.pixels, believed["label"].to_numpy(), known.names),
        compared=draw_by_class(synthetic.labels, counts, seed, "synthetic images"),
        floor=draw_by_class(training.labels, counts, seed, "training images"),
        reference=draw_at_most(len(test.labels), most, seed, "test images"),
        num_classes=num_classes,
    )


def _by_other_eyes(network: Network, sets: Sets, device: torch.device, k: int) -> dict[str, dict[str, float]]:
    chosen = (sets.test[sets.reference], sets.synthetic[sets.compared], sets.training[sets.floor])
    reference, synthetic, floor = (embed(network, images.pixels, device, batch_size=50) for images in chosen)
    return compare(reference, synthetic, floor, k)


def _agreement(images: Images, seen: Embedding, num_classes: int) -> np.ndarray:
    """Counts (C, C): rows are the classes that the images should show, columns those that the judge sees."""
    return confusion_matrix(images.labels, seen.probabilities.argmax(1).cpu().numpy(), num_classes)


def _classification_accuracy(
    sets: Sets, info: dict, judge: Judge, quality: Quality, context: Context
) -> dict[str, np.ndarray]:
    """Confusion on the test set of the judge's network, trained on images of one kind alone: the classification
    accuracy score (Ravuri and Vinyals, 2019). Both trainings have the same first weights and the same number of steps.
    """
    rounds = quality.classification_rounds
    schedule = judge.model_copy(update={"rounds": max(1, rounds), "evaluate_every": max(1, rounds)})
    test, true = sets.test.pixels.to(context.device), torch.from_numpy(sets.test.labels).to(context.device)
    kinds = {"synthetic": sets.synthetic[sets.compared], "real": sets.training[sets.floor]}
    confusions = dict.fromkeys(kinds, np.zeros((sets.num_classes, sets.num_classes), dtype=np.int64))
    for number, (name, images) in enumerate(kinds.items() if rounds and len(sets.compared) else ()):
        model = build(judge, info).to(context.device)
        initialize(model, judge.seed, "judge")
        tensors = (images.pixels.to(context.device), torch.from_numpy(images.labels).to(context.device))
        everyone = Client(0, tensors, torch.arange(len(images.labels), device=context.device))
        part = context.part(number * rounds, total=2 * rounds)
        train_classifier(model, [everyone], test, true, schedule, part, seed=judge.seed)
        predicted = probabilities(model, test).argmax(1).cpu().numpy()
        confusions[name] = confusion_matrix(sets.test.labels, predicted, sets.num_classes)
    return confusions


def _nearest(images: Images, known: Images, quality: Quality, seed: int, device: torch.device) -> pd.DataFrame:
    """Each of at most `most_images` images and its nearest training image of the denoiser."""
    drawn = images[draw_at_most(len(images.labels), quality.most_images, seed, "looked up")]
    pixels = (drawn.pixels.to(device), known.pixels.to(device))
    found = nearest_training_images(*pixels, quality.memorised_neighbours)
    ratio = found.ratio.cpu().numpy()
    columns = {
        "row": drawn.names,
        "class_id": drawn.labels,
        "sample_id": known.names[found.row.cpu().numpy()],
        "distance": found.distance.cpu().numpy(),
        "ratio": ratio,
        "memorised": ratio < quality.memorised_ratio,
    }
    return pd.DataFrame(columns)


def _per_class(
    sets: Sets,
    agreement: Mapping[str, np.ndarray],
    taught: Mapping[str, np.ndarray],
    copies: Mapping[str, pd.DataFrame],
    synthetic: Embedding,
    test: Embedding,
) -> pd.DataFrame:
    made, real = (
        _diversity(images.labels, seen.features, sets.num_classes)
        for images, seen in ((sets.synthetic, synthetic), (sets.test, test))
    )
    by_class = {name: table.groupby("class_id") for name, table in copies.items()}
    classes = range(sets.num_classes)
    columns = {
        "class_id": np.arange(sets.num_classes),
        "images": np.bincount(sets.synthetic.labels, minlength=sets.num_classes),
        "class_agreement": class_accuracy(agreement["synthetic"]),
        "class_agreement_real": class_accuracy(agreement["real"]),
        "classification_accuracy": class_accuracy(taught["synthetic"]),
        "classification_accuracy_real": class_accuracy(taught["real"]),
        "diversity": made,
        "diversity_real": real,
        "relative_diversity": np.divide(made, real, out=np.full(len(made), np.nan), where=real > 0),
        "nearest_distance": by_class["synthetic"]["distance"].median().reindex(classes).to_numpy(),
        "nearest_distance_real": by_class["real"]["distance"].median().reindex(classes).to_numpy(),
        "memorised_share": by_class["synthetic"]["memorised"].mean().reindex(classes).to_numpy(),
        "memorised_share_real": by_class["real"]["memorised"].mean().reindex(classes).to_numpy(),
    }
    return pd.DataFrame(columns)


def _diversity(labels: np.ndarray, features: Tensor, num_classes: int) -> np.ndarray:
    """Mean distance (C,) of two images of a class."""
    return np.array(
        [mean_pairwise_distance(features[torch.from_numpy(labels == class_id)]) for class_id in range(num_classes)]
    )


def _metrics(scores: Mapping[str, Mapping], whole: Mapping[str, Mapping]) -> dict[str, float]:
    """All numbers by one name each: `judge_frechet_distance`, `judge_frechet_distance_real`, ..."""
    numbers = {
        f"{space.split()[0].lower()}_{measure}{'' if kind == 'synthetic' else '_real'}": value
        for space, kinds in scores.items()
        for kind, measures in kinds.items()
        for measure, value in measures.items()
    }
    return numbers | {
        f"{measure}{'' if kind == 'synthetic' else '_real'}": value
        for measure, kinds in whole.items()
        for kind, value in kinds.items()
    }


def _without_nan(value: dict) -> dict:
    """The same tree with None where there is no number."""
    return {
        name: _without_nan(inner) if isinstance(inner, dict) else None if inner != inner else inner
        for name, inner in value.items()
    }
