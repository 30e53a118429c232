"""Are synthetic images copies of training images? Nearest neighbours in pixel space, and a rule for what is too near.

The rule is that of Carlini et al. (2023, "Extracting Training Data from Diffusion Models", section 4.2): an image is
memorised where its nearest training image is much closer than training images usually are to it, measured by the
mean over the k nearest. A bare threshold on distances would find every plain image. Their k is 50, for training sets
of 50,000; among the few hundred of a small federation the 50 nearest include other classes, and real images of a test
set pass for copies. So k is smaller here, towards the second nearest of Yoon et al. (2023), which a training set with
duplicates defeats. Copies that are shifted, mirrored or recoloured are not found.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsyn.metrics.distances import bands, squared_distances


@dataclass(frozen=True)
class Nearest:
    """Of each of N images: its nearest training image, and how near it is."""

    row: Tensor  # (N,) of the training images
    distance: Tensor  # (N,) root mean squared difference of a pixel, from 0 to 1
    ratio: Tensor  # (N,) of that distance to the mean one of the k nearest


def nearest_training_images(images: Tensor, training: Tensor, k: int) -> Nearest:
    """Of images (N, H, W, C) uint8, among training images (T, H, W, C) uint8; all T where there are fewer than k.

    Found in float32 by one matrix product, then measured anew in float64, since the product cannot tell an exact copy
    from a near one.
    """
    pixels, known = images.flatten(1), training.flatten(1).float().div_(255)
    found = []
    for _, band in bands(pixels):
        points = band.float().div_(255)
        rows = squared_distances(points, known).topk(min(k, len(known)), largest=False).indices  # (B, k)
        gaps = known[rows].sub_(points[:, None]).double().square_().mean(2).sqrt_()
        gaps, order = gaps.sort(dim=1)
        typical = gaps.mean(1)
        ratio = torch.where(typical > 0, gaps[:, 0] / typical, 0.0)
        found.append((rows.gather(1, order[:, :1])[:, 0], gaps[:, 0], ratio))
    return Nearest(*(torch.cat(parts) for parts in zip(*found, strict=True)))
