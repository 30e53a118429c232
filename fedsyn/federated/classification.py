"""Training and measuring a classifier: steps 1 and 5 share every line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.data.images import augment, draw_augmentation, to_input
from fedsyn.federated.client import Client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of (images (B, H, W, C) uint8, labels (B,) int64), after augmentation."""

    augmentation: str
    height: int

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Shifts and flips."""
        return draw_augmentation(self.augmentation, count, self.height, rng)

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each image (B,)."""
        images, labels = batch
        return F.cross_entropy(model(to_input(augment(images, draws))), labels, reduction="none")


def train_classifier(
    model: nn.Module,
    clients: Sequence[Client],
    test_images: Tensor,
    test_labels: Tensor,
    settings: Classifier,
    context: Context,
    *,
    seed: int,
    num_clients: int | None = None,
) -> TrainingState:
    """Federated training with cross-entropy. The test set is measured for the record and never decides anything."""

    def measure(state: TrainingState) -> None:
        last = state.history[-1]
        if state.rounds_done % settings.evaluate_every == 0 or state.rounds_done == settings.rounds:
            correct = probabilities(model, test_images).argmax(1) == test_labels
            last["test_accuracy"] = float(correct.float().mean())
        context.after_round(state, settings.rounds)

    return federated_training(
        model,
        clients,
        CrossEntropy(settings.augmentation, test_images.shape[1]),
        settings,
        seed=seed,
        stage=context.stage,
        execution=context.execution,
        recompute=settings.normalization == "batch" and settings.batch_statistics == "recompute",
        num_clients=num_clients,
        checkpoints=context.checkpoints,
        keep_last=context.rounds is not None,
        after_round=measure,
    )


@torch.inference_mode()
def probabilities(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Class probabilities (N, C) of images (N, H, W, C) uint8; the model is left in training mode.

    In equal parts of at most `batch_size`, none of a single image: BatchNorm without running statistics needs two.
    """
    if len(images) == 1:
        return probabilities(model, images.repeat(2, 1, 1, 1))[:1]
    model.eval()
    parts = images.tensor_split(max(1, math.ceil(len(images) / batch_size)))
    outputs = [model(to_input(part)).softmax(1) for part in parts]
    model.train()
    return torch.cat(outputs)
