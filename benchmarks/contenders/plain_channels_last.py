"""The limit: FedAvg written by hand, with no framework and nothing that the round does not need.

All images stay in memory as bytes, one model serves every client, and activations are channels-last. Max-pool comes
before ReLU, with which it commutes, and SGD updates all weights in one fused kernel.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench  # before torch

# isort: split

import torch
from torch import Tensor, nn


def floats(images: Tensor, channels_last: bool) -> Tensor:
    """Byte images (n, 28, 28) as floats in [-1, 1], (n, 1, 28, 28).

    With one channel both layouts hold the same bytes, and `contiguous` keeps the strides of NCHW, which the first
    convolution then goes by; permuting NHWC gives strides that say channels-last.
    """
    batch = images[..., None].permute(0, 3, 1, 2) if channels_last else images[:, None]
    return batch.float().mul_(2 / 255).sub_(1)


def train(model: nn.Module, images: Tensor, labels: Tensor, channels_last: bool) -> None:
    """One epoch of SGD with fresh momentum, on one client's images (n, 28, 28) and labels (n,)."""
    optimizer = torch.optim.SGD(model.parameters(), bench.LEARNING_RATE, bench.MOMENTUM, fused=True)
    for rows in torch.randperm(len(labels)).split(bench.BATCH_SIZE):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(floats(images[rows], channels_last)), labels[rows]).backward()
        optimizer.step()


def run(name: str, channels_last: bool) -> None:
    """All rounds, and the report."""
    args = bench.arguments()
    clock = bench.Clock()
    bench.prepare_torch()
    workload = bench.load(args.workload)
    images, labels = torch.from_numpy(workload.images), torch.from_numpy(workload.labels)
    clients = [(images[rows], labels[rows]) for rows in workload.clients()]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = bench.cnn(pool_first=True).to(memory_format=layout)
    weights = [weight.detach() for weight in model.parameters()]  # the same memory, out of autograd's sight
    current = [weight.clone() for weight in weights]

    clock.start()
    for _ in range(args.rounds):
        mean = [torch.zeros_like(weight) for weight in weights]
        for client_images, client_labels in clients:
            for weight, value in zip(weights, current, strict=True):
                weight.copy_(value)
            train(model, client_images, client_labels, channels_last)
            for total, weight in zip(mean, weights, strict=True):
                total.add_(weight, alpha=len(client_labels) / len(labels))
        current = mean
        clock.lap()

    for weight, value in zip(weights, current, strict=True):
        weight.copy_(value)
    bench.report(name, ["torch"], clock, bench.evaluate(model, workload))


if __name__ == "__main__":
    run("plain_channels_last", channels_last=True)
