"""Training and measuring a classifier: steps 1 and 5 share every line."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.data.images import augment, to_input
from fedsyn.federated.averaging import Client, Objective, TrainingState, federated_averaging


def cross_entropy(augmentation: str) -> Objective:
    """Mean cross-entropy of a batch (images (B, H, W, C) uint8, labels (B,) int64), after augmentation."""

    def objective(model: nn.Module, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(to_input(augment(images, augmentation, rng))), labels)

    return objective


def train_classifier(
    model: nn.Module,
    clients: Sequence[Client],
    test_images: Tensor,
    test_labels: Tensor,
    settings: Classifier,
    context: Context,
    *,
    seed: int,
) -> TrainingState:
    """FedAvg with cross-entropy. The test set is measured for the record and never decides anything."""

    def measure(state: TrainingState) -> None:
        last = state.history[-1]
        if state.rounds_done % settings.evaluate_every == 0 or state.rounds_done == settings.rounds:
            correct = probabilities(model, test_images).argmax(1) == test_labels
            last["test_accuracy"] = float(correct.float().mean())
        shown = {name: value for name, value in last.items() if name != "round"}
        context.progress(state.rounds_done, settings.rounds, "rounds", **shown)

    objective = cross_entropy(settings.augmentation)
    return federated_averaging(model, clients, objective, settings, seed=seed, stage=context.stage, after_round=measure)


@torch.inference_mode()
def probabilities(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Class probabilities (N, C) of images (N, H, W, C) uint8; the model is left in training mode."""
    model.eval()
    outputs = [model(to_input(part)).softmax(1) for part in images.split(batch_size)]
    model.train()
    return torch.cat(outputs)
