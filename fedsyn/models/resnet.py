"""torchvision's ResNet-18 for small images, with its features in reach."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class ResNet18(ResNet):
    """ResNet-18 with the CIFAR stem of He et al. (2016): 3 x 3, stride 1, no pooling, for images of about 32 pixels."""

    def __init__(self, channels: int, num_classes: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes, norm_layer=norm)
        self.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        self.maxpool = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> logits (B, num_classes)."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> features (B, 512): channel means of the last block."""
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 64, H, W)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)  # (B, 64, H, W), then (B, 128, H/2, W/2), ...
        return self.avgpool(x).flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Features (B, 512) -> logits (B, num_classes)."""
        return self.fc(features)
