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
    """What step 2a finds: predictions of the `unlabeled` and of the `known` (calibration) samples, the `calibration`
    of the former by the latter, and the weights of the classes, by client for `client` alignment."""

    unlabeled: Predictions
    known: Predictions
    calibration: Calibration
    class_weights: list[float] | dict[int, list[float]] | None = None


def label(
    unlabeled: Predictions,
    known: Predictions,
    true: np.ndarray,
    prior: np.ndarray,
    settings: PseudoLabels,
    *,
    balanced: bool = False,
) -> Labeled:
    """Align the predictions as `settings` say, and calibrate them consistently.

    `true`: the labels (m,) of the `known` samples; `prior`: the label prior (C,) of all clients; `balanced`: whether
    training has taken the prior out of the predictions (logit adjustment, class-balanced sampling), so that they
    assume that all classes are equally common.
    """
    grid = np.asarray(settings.confidence_grid)
    if settings.distribution_alignment == "none":
        return Labeled(unlabeled, known, counted(global_confusion(known, true, grid)))
    if settings.distribution_alignment == "global":
        sums = np.zeros(len(prior))
        for own in by_client(unlabeled.owner):
            sums += unlabeled.probabilities[own].sum(axis=0, dtype=np.float64)
        weights = global_weights(sums, len(unlabeled.owner), prior)
        known = known.aligned(weights)
        calibration = counted(global_confusion(known, true, grid))
        return Labeled(unlabeled.aligned(weights), known, calibration, weights.tolist())

    # 1. every client estimates the class mixture of its unlabelled samples, aligns them, and sends the mixture up
    assumed = np.full(len(prior), 1 / len(prior)) if balanced else prior
    clients, sizes = np.unique(unlabeled.owner, return_counts=True)
    mixtures = np.array([class_mixture(unlabeled.probabilities[own], assumed) for own in by_client(unlabeled.owner)])
    weights = mixtures.reshape(-1, len(prior)) / assumed  # (K, C)
    labels = unlabeled.aligned(weights[np.searchsorted(clients, unlabeled.owner)])
    # 2. the server sends all weights down; every client counts its calibration samples under each of them
    counts = (global_confusion(known.aligned(each), true, grid) for each in weights)
    # 3. the server weighs the counts by how many samples of each class they stand for
    members = np.bincount(true, minlength=len(prior))
    if len(clients) == 0:
        calibration = counted(global_confusion(known, true, grid))
    else:
        calibration = weighted(counts, client_weights(sizes, weights * assumed, members))
    by_id = dict(zip(clients.tolist(), weights.tolist(), strict=True))
    return Labeled(labels, known, calibration, by_id)


def global_confusion(known: Predictions, true: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """M_g^t = sum_k M_k^t, (T, C, C) int64. Counts are whole numbers, so that the server's sum over clients is the
    count over all of their samples; one pass takes a fraction of the time."""
    return confusion_matrices(true, *known.best(), grid, known.probabilities.shape[1])
