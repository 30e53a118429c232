"""Classifiers. GroupNorm by default: running statistics of BatchNorm do not average over skewed clients."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsyn.config import Classifier

GROUPS = 8


class SmallCNN(nn.Module):
    """Two convolutions, each with normalisation and pooling, and two linear layers.

    Pooling comes before ReLU: the two commute, and ReLU then works on a quarter of the elements.
    """

    def __init__(
        self, channels: int, height: int, width: int, num_classes: int, base: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, base, 3, padding=1)
        self.norm1 = norm(base)
        self.conv2 = nn.Conv2d(base, 2 * base, 3, padding=1)
        self.norm2 = norm(2 * base)
        self.hidden = nn.Linear(2 * base * (height // 4) * (width // 4), 4 * base)
        self.head = nn.Linear(4 * base, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> logits (B, num_classes)."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> features (B, 4 * base)."""
        x = F.relu(F.max_pool2d(self.norm1(self.conv1(x)), 2))  # (B, base, H/2, W/2)
        x = F.relu(F.max_pool2d(self.norm2(self.conv2(x)), 2))  # (B, 2 base, H/4, W/4)
        return F.relu(self.hidden(x.flatten(1)))


def build_classifier(settings: Classifier, channels: int, height: int, width: int, num_classes: int) -> nn.Module:
    """An untrained classifier for images (B, channels, height, width), in channels-last memory format."""

    def norm(width: int) -> nn.Module:
        if settings.normalization == "group":
            return nn.GroupNorm(GROUPS, width)
        return nn.BatchNorm2d(width, track_running_stats=settings.batch_statistics != "local")

    if settings.architecture == "cnn":
        model: nn.Module = SmallCNN(channels, height, width, num_classes, settings.width, norm)
    else:
        from fedsyn.models.resnet import ResNet18

        model = ResNet18(channels, num_classes, norm)
    return model.to(memory_format=torch.channels_last)
