"""From logits to pseudo-labels and to what is known of them: every exchange of clients and server in step 2a, in order.

The loops over clients stand for the clients; what is added up inside of them is what goes up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fedsyn.config import PseudoLabels
from fedsyn.pseudo_labels.alignment import aligned, class_mixture, global_weights
from fedsyn.pseudo_labels.calibration import Calibration, client_weights, counted, weighted
from fedsyn.pseudo_labels.confusion import confusion_matrices

EXCHANGES = 10
"""Of sums of predictions for weights, before the mean prediction counts as the prior."""


def by_client(owner: np.ndarray) -> Iterator[np.ndarray]:
    """The rows (n_k,) of each client in `owner` (n,), in the order of their ids."""
    for client_id in np.unique(owner):
        yield np.flatnonzero(owner == client_id)


@dataclass(frozen=True)
class Predictions:
    """Class probabilities (n, C) float32 of samples, and the client (n,) of each."""

    probabilities: np.ndarray
    owner: np.ndarray

    @staticmethod
    def of(logits: np.ndarray, temperature: float, owner: np.ndarray) -> "Predictions":
        """The softmax of `logits` (n, C) / temperature."""
        return Predictions((torch.from_numpy(logits) / temperature).softmax(1).numpy(), owner)

    def aligned(self, weights: np.ndarray) -> "Predictions":
        """The same, reweighted by (C,) or (n, C)."""
        return Predictions(aligned(self.probabilities, weights).astype(np.float32), self.owner)

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The predicted class and its probability, the confidence; (n,) each."""
        return self.probabilities.argmax(axis=1), self.probabilities.max(axis=1)


@dataclass(frozen=True)
class Labeled:
    """What step 2a finds: predictions of the `unlabeled` and of the `known` (calibration) samples, these without any
    client's mixture; the `calibration` of the former by the latter; and the weights of the classes, by client for
    `client` alignment."""

    unlabeled: Predictions
    known: Predictions
    calibration: Calibration
    class_weights: list[float] | dict[int, list[float]] | None = None


def label(
    unlabeled: Predictions, known: Predictions, true: np.ndarray, prior: np.ndarray, settings: PseudoLabels
) -> Labeled:
    """Align the predictions as `settings` say, and calibrate them consistently.

    `true`: the labels (m,) of the `known` samples; `prior`: the label prior (C,) of all clients.
    """
    grid, alignment = np.asarray(settings.confidence_grid), settings.distribution_alignment
    if alignment == "none":
        return Labeled(unlabeled, known, counted(global_confusion(known, true, grid)))
    # 1. the mean prediction over all clients becomes the prior
    common = common_weights(unlabeled, prior)
    unlabeled, known = unlabeled.aligned(common), known.aligned(common)
    if alignment == "global" or len(unlabeled.owner) == 0:
        return Labeled(unlabeled, known, counted(global_confusion(known, true, grid)), common.tolist())
    # 2. every client estimates the class mixture of its unlabelled samples, aligns them, and sends the mixture up
    clients, sizes = np.unique(unlabeled.owner, return_counts=True)
    mixtures = np.array([class_mixture(unlabeled.probabilities[own], prior) for own in by_client(unlabeled.owner)])
    weights = mixtures / prior  # (K, C)
    # 3. the server sends all of them down; every client counts its calibration samples under each
    counts = (global_confusion(known.aligned(each), true, grid) for each in weights)
    # 4. the server weighs the counts by how many samples of each class they stand for
    members = np.bincount(true, minlength=len(prior))
    return Labeled(
        unlabeled.aligned(weights[np.searchsorted(clients, unlabeled.owner)]),
        known,
        weighted(counts, client_weights(sizes, mixtures, members)),
        dict(zip(clients.tolist(), (common * weights).tolist(), strict=True)),
    )


def common_weights(unlabeled: Predictions, prior: np.ndarray) -> np.ndarray:
    """The weights (C,) under which the mean prediction over all clients is the `prior` (C,).

    Every client sends the sum of its aligned predictions up, the server sends better weights down; one exchange is
    ReMixMatch's ratio, which takes out half of a bias or so, and a few take out all of it.
    """
    weights = np.ones(len(prior))
    for _ in range(EXCHANGES):
        sums = np.zeros(len(prior))
        for own in by_client(unlabeled.owner):
            sums += aligned(unlabeled.probabilities[own], weights).sum(axis=0)
        weights = weights * global_weights(sums, len(unlabeled.owner), prior)
    return weights / (prior * weights).sum()


def global_confusion(known: Predictions, true: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """M_g^t = sum_k M_k^t, (T, C, C) int64. Counts are whole numbers, so that the server's sum over clients is the
    count over all of their samples; one pass takes a fraction of the time."""
    return confusion_matrices(true, *known.best(), grid, known.probabilities.shape[1])
