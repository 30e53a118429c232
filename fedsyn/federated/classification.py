"""Training and measuring a classifier: steps 1 and 5 share every line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsyn import interruption
from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.data.images import augment, draw_augmentation, to_input
from fedsyn.federated.client import Client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of (images (B, H, W, channels) uint8, labels (B,) int64), after augmentation.

    A third tensor, the log prior (B, C) of each sample's classes, is added to the logits: logit adjustment. With a
    `consistency_weight` lambda, lambda KL(p(y | x) || p(y | x')) is added to the loss, for x' another view of x, and x
    as the teacher that learns nothing from it (Xie et al., 2020).
    """

    augmentation: str
    height: int
    consistency_weight: float = 0.0

    @property
    def other_view(self) -> str:
        """The augmentation that makes x'; the same image would teach nothing."""
        return "shift" if self.augmentation == "none" else self.augmentation

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Shifts and flips; twice where two views are compared."""
        policies = [self.augmentation, *([self.other_view] if self.consistency_weight else [])]
        return tuple(array for policy in policies for array in draw_augmentation(policy, count, self.height, rng))

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...], draws: tuple[Tensor, ...]) -> Tensor:
        """The loss of each image (B,)."""
        images, labels, *log_prior = batch
        first = 0 if self.augmentation == "none" else len(draws) // (2 if self.consistency_weight else 1)
        logits = model(to_input(augment(images, draws[:first])))  # (B, C)
        loss = F.cross_entropy(sum(log_prior, logits), labels, reduction="none")
        if not self.consistency_weight:
            return loss
        other = model(to_input(augment(images, draws[first:]))).log_softmax(1)
        teacher = logits.detach().log_softmax(1)
        return loss + self.consistency_weight * (teacher.exp() * (teacher - other)).sum(1)


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
    consistency_weight: float = 0.0,
) -> TrainingState:
    """Federated training with cross-entropy of `clients`, whose tensors are images and labels.

    The test set is measured for the record and never decides anything.
    """
    if settings.logit_adjustment != "none":
        num_classes = probabilities(model, test_images[:1]).shape[1]
        clients = with_log_prior(clients, num_classes, settings.logit_adjustment)

    def measure(state: TrainingState) -> None:
        last = state.history[-1]
        if state.rounds_done % settings.evaluate_every == 0 or state.rounds_done == settings.rounds:
            correct = probabilities(model, test_images).argmax(1) == test_labels
            last["test_accuracy"] = float(correct.float().mean())
        context.after_round(state, settings.rounds)

    return federated_training(
        model,
        clients,
        CrossEntropy(settings.augmentation, test_images.shape[1], consistency_weight),
        settings,
        seed=seed,
        stage=context.stage,
        execution=context.execution,
        recompute=settings.normalization == "batch" and settings.batch_statistics == "recompute",
        class_balanced=settings.class_balanced_sampling,
        num_clients=num_clients,
        checkpoints=context.checkpoints,
        keep_last=context.rounds is not None,
        after_round=measure,
    )


def probabilities(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Class probabilities (N, C) of images (N, H, W, channels) uint8; the model is left in training mode."""
    return logits(model, images, batch_size).softmax(1)


@torch.inference_mode()
def logits(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits (N, C) of images (N, H, W, channels) uint8; the model is left in training mode.

    In equal parts of at most `batch_size`, none of a single image: BatchNorm without running statistics needs two.
    """
    if len(images) == 1:
        return logits(model, images.repeat(2, 1, 1, 1))[:1]
    model.eval()
    parts = images.tensor_split(max(1, math.ceil(len(images) / batch_size)))
    outputs = [model(to_input(part)) for part in parts]
    model.train()
    return torch.cat(outputs)


def logits_by_client(
    model: nn.Module, images: Tensor, rows: np.ndarray, owner: np.ndarray, num_classes: int
) -> np.ndarray:
    """Client side, one client of `owner` (n,) after the other: logits (n, C) of `rows` (n,) of images (N, H, W,
    channels) uint8. A client's images go together: BatchNorm without running statistics takes theirs."""
    device = next(model.parameters()).device
    found = np.empty((len(rows), num_classes), np.float32)
    for client_id in np.unique(owner):
        interruption.check()
        own = np.flatnonzero(owner == client_id)
        found[own] = logits(model, images[torch.from_numpy(rows[own])].to(device)).cpu().numpy()
    return found


# --- logit adjustment ---


def label_counts(client: Client, num_classes: int) -> Tensor:
    """Client side: n_{k,c}, the client's training samples of each class (C,) int64."""
    return torch.bincount(client.tensors[1][client.indices], minlength=num_classes)


def log_priors(counts: Tensor, adjustment: str) -> Tensor:
    """The log prior (K, C) that each client adds to its logits (Menon et al., 2021), from label counts (K, C).

    `global`: that of the summed counts, for all clients. `client`: each client's own (Ren et al., 2020; Zhang et al.,
    2022), so that a class which it lacks is hardly pushed down. Every class counts one sample more. Without it a
    lacking class would leave the softmax: a client of one class would learn nothing, and the logit of a class that
    nobody has would stay where it was drawn, and could win predictions.
    """
    if adjustment == "global":
        counts = counts.sum(0).expand_as(counts)
    smoothed = counts.double() + 1
    return (smoothed / smoothed.sum(1, keepdim=True)).log().float()


def with_log_prior(clients: Sequence[Client], num_classes: int, adjustment: str) -> list[Client]:
    """The clients with a third tensor: the log prior (N, C) of each sample's owner. Label counts go up, and for
    `global` their sum comes down."""
    owned = [client for client in clients if client.num_samples > 0]
    if not owned:
        return list(clients)
    priors = log_priors(torch.stack([label_counts(client, num_classes) for client in owned]), adjustment)
    images, labels = owned[0].tensors
    rows = priors.new_zeros(len(labels), num_classes)
    for client, prior in zip(owned, priors, strict=True):
        rows[client.indices] = prior
    return [replace(client, tensors=(images, labels, rows)) for client in owned]
