"""How many images are drawn at once, where the settings leave it to the memory."""

from collections.abc import Callable, Sequence

import torch

ON_CPU = 128
"""More are no faster there: a batch of this size has all cores busy."""

SHARE = 0.5
"""Of a GPU's memory: the rest is for fragments, workspaces of larger batches, and others."""

LARGEST = 4096

PROBES = (8, 16)


def batch_size_for(draw: Callable[[int], object], device: torch.device) -> int:
    """The batch size of a device: `ON_CPU`, or what `SHARE` of a GPU's memory holds; `draw(n)` draws n images.

    On a GPU a few are drawn to measure what one costs. The size depends on the device and the models alone, not
    on what else is in its memory: should that be too little after all, batches are halved (`generate_parts`).
    """
    if device.type != "cuda":
        return ON_CPU
    draw(PROBES[0])  # libraries take their workspaces
    return fitting_batch(PROBES, [_peak(draw, count, device) for count in PROBES], _total_memory(device))


def fitting_batch(counts: Sequence[int], peaks: Sequence[int], total: int) -> int:
    """The largest power of two, at most `LARGEST`, whose batch stays below `SHARE` of `total` bytes; at least 1.

    `peaks`: bytes in use at most while `counts` images (two numbers, ascending) were drawn; taken as a straight line.
    Powers of two, since a byte more or less must not change the batches, and with them an image's last bits.
    """
    cost = max(1.0, (peaks[1] - peaks[0]) / (counts[1] - counts[0]))
    room = SHARE * total - (peaks[0] - counts[0] * cost)
    return min(LARGEST, 2 ** max(0, int(room / cost).bit_length() - 1)) if room >= cost else 1


def _peak(draw: Callable[[int], object], count: int, device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    draw(count)
    return torch.cuda.max_memory_allocated(device)


def _total_memory(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)
