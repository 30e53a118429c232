"""Images as points: what a network makes of them before its last layer, and what it predicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fedsyn import interruption
from fedsyn.data.images import to_input

Network = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, H, W, C) uint8 -> features (B, D) and class probabilities (B, C)."""


@dataclass(frozen=True)
class Embedding:
    """N images in the eyes of a network, in float64."""

    features: Tensor  # (N, D)
    probabilities: Tensor  # (N, C)

    def __getitem__(self, rows: np.ndarray) -> "Embedding":
        chosen = torch.tensor(rows)
        return Embedding(self.features[chosen], self.probabilities[chosen])


def judge_network(judge: nn.Module) -> Network:
    """A classifier with `features` and `head`, as a network: its features are the last layer's inputs."""
    judge.eval()
    body, head = (cast(Callable[[Tensor], Tensor], getattr(judge, name)) for name in ("features", "head"))

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        features = body(to_input(images))
        return features, head(features).softmax(1)

    return network


@torch.inference_mode()
def embed(network: Network, images: Tensor, device: torch.device, batch_size: int = 500) -> Embedding:
    """Images (N, H, W, C) uint8, N > 0, batch by batch, on `device`.

    In equal parts, none of a single image unless N is 1: BatchNorm without running statistics needs two.

    Raises:
        Interrupted: a signal asked to stop.
    """
    made = []
    for part in images.tensor_split(-(-len(images) // batch_size)):
        interruption.check()
        made.append(network(part.to(device)))
    features, probabilities = (torch.cat(outputs).double() for outputs in zip(*made, strict=True))
    return Embedding(features, probabilities)
