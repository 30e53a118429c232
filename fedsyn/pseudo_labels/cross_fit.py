"""Federated k-fold cross-fitting: every label trains, and every label is predicted by a classifier that has not seen
it."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.federated.classification import logits_by_client, train_classifier
from fedsyn.federated.client import group_by_client
from fedsyn.randomness import generator


def deal_folds(labels: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Client side: the fold (n,) of each of a client's labelled samples, `labels` (n,).

    Its shuffled samples, one class after the other, are dealt out in turn: no two folds differ by more than one sample,
    in all and of any class. The first fold is drawn, so that clients with few samples do not all fill the same ones.
    """
    order = np.lexsort((rng.random(len(labels)), labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = (rng.integers(folds) + np.arange(len(labels))) % folds
    return fold


def fold_of_each(owner: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold (n,) of every labelled sample; `owner`: its client (n,)."""
    fold = np.zeros(len(labels), dtype=np.int64)
    for client_id in np.unique(owner).tolist():
        own = owner == client_id
        fold[own] = deal_folds(labels[own], folds, generator(seed, "pseudo_labels", "folds", client_id=client_id))
    return fold


def cross_fit(
    build: Callable[[], nn.Module],
    images: Tensor,
    labels: Tensor,
    owner: np.ndarray,
    fold: np.ndarray,
    settings: Classifier,
    context: Context,
    *,
    seed: int,
    num_clients: int,
    num_classes: int,
) -> np.ndarray:
    """The logits (n, C) of each labelled sample, by the classifier that was trained on all other folds.

    `build` gives the untrained classifier, with step 1's first weights; `images` (n, H, W, channels) uint8, `labels`
    (n,), `owner` and `fold` (n,) of the labelled samples. The trainings are parts of the stage: one that is killed goes
    on in the fold where it was. A fold's own samples take the place of the test set in what is shown of its training.

    Raises:
        ValueError: all labelled samples are in one fold, which leaves nothing to train on.
    """
    held_out = np.unique(fold).tolist()  # with few samples some folds are empty
    if len(held_out) < 2:
        raise ValueError(
            f"pseudo_labels.calibration 'cross_fit' needs labelled images in two folds, got {len(labels)} in one; "
            "raise partition.labeled_fraction, or choose 'train'"
        )
    found = np.empty((len(labels), num_classes), np.float32)
    for place, index in enumerate(held_out):
        model = build().to(images.device)
        rows = np.flatnonzero(fold != index)
        clients = group_by_client(owner[rows], rows, (images, labels))
        own = np.flatnonzero(fold == index)
        kept = context.part(place * settings.rounds, total=len(held_out) * settings.rounds)
        train_classifier(model, clients, images[own], labels[own], settings, kept, seed=seed, num_clients=num_clients)
        found[own] = logits_by_client(model, images, own, owner[own], num_classes)
    return found
