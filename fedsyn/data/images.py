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


def draw_augmentation(policy: str, count: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What `augment` needs for `count` images: offsets (count, 2) in pixels, and for `shift-flip` flips (count,)."""
    if policy == "none":
        return ()
    offsets = rng.integers(0, 2 * (height // 8) + 1, (count, 2))
    return (offsets, rng.random(count) < 0.5) if policy == "shift-flip" else (offsets,)


def augment(images: Tensor, draws: tuple[Tensor, ...]) -> Tensor:
    """Shift each image by up to an eighth of its size (zeros come in), and flip half of them, as drawn.

    `images`: (B, H, W, C) uint8; `draws`: of `draw_augmentation`. Returns the same shape and type.
    """
    if not draws:
        return images
    count, height, width, _ = images.shape
    reach = height // 8
    padded = torch.nn.functional.pad(images, (0, 0, reach, reach, reach, reach))
    offsets, *flips = draws
    down, across = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows, columns = offsets[:, :1] + down, offsets[:, 1:] + across  # (B, H), (B, W)
    if flips:
        columns = torch.where(flips[0][:, None], columns.flip(1), columns)
    samples = torch.arange(count, device=images.device)[:, None, None]
    return padded[samples, rows[:, :, None], columns[:, None, :]]
