"""Images as tensors: bytes in memory, floats only in the batch at hand."""

import numpy as np
import torch
from torch import Tensor


def to_input(images: Tensor) -> Tensor:
    """Bytes (B, H, W, C) uint8 -> network input (B, C, H, W) float32 in [-1, 1], channels-last in memory.

    Permuting (instead of `contiguous(memory_format=...)`) sets channels-last strides even with one channel, where
    that call is ambiguous and would leave the first convolution on the slow layout.
    """
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_bytes(images: Tensor) -> Tensor:
    """Network output (B, C, H, W) in [-1, 1] -> bytes (B, H, W, C) uint8; values outside are clipped."""
    return images.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def augment(images: Tensor, policy: str, rng: np.random.Generator) -> Tensor:
    """Shift each image by up to an eighth of its size (zeros come in), and flip half of them.

    `images`: (B, H, W, C) uint8; `policy`: `none`, `shift` or `shift-flip`. Returns the same shape and type.
    """
    if policy == "none":
        return images
    count, height, width, _ = images.shape
    reach = height // 8
    padded = torch.nn.functional.pad(images, (0, 0, reach, reach, reach, reach))
    offsets = torch.from_numpy(rng.integers(0, 2 * reach + 1, (2, count, 1)))
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)  # (B, H), (B, W)
    if policy == "shift-flip":
        flipped = torch.from_numpy(rng.random(count) < 0.5)
        columns[flipped] = columns[flipped].flip(1)
    rows, columns = rows.to(images.device), columns.to(images.device)
    samples = torch.arange(count, device=images.device)[:, None, None]
    return padded[samples, rows[:, :, None], columns[:, None, :]]
