"""PyTorch's switches of arithmetic, for the time of one training: they belong to the process, so they are put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedsyn.config import FederatedTraining


def set_arithmetic(settings: FederatedTraining) -> None:
    """TensorFloat-32 as asked, and algorithms that give the same bits each time."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.tf32
    torch.backends.cudnn.deterministic = True


@contextmanager
def arithmetic(settings: FederatedTraining) -> Iterator[None]:
    """`set_arithmetic`, and what was set before afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    set_arithmetic(settings)
    try:
        yield
    finally:
        matmul, cudnn, deterministic = before
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
        torch.backends.cudnn.deterministic = deterministic


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside an operation, as workers have it: another number changes the last bits of a sum."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
