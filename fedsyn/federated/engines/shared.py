"""Tensors that several processes on one machine see: written once, mapped by all, gone with their last process."""

import os
import tempfile
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedTensor:
    """The address of a tensor in shared memory; small enough to send."""

    path: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    def open(self) -> Tensor:
        """The tensor itself: writing to it is seen by every process that has opened it."""
        count = torch.Size(self.shape).numel()
        if count == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.from_file(self.path, shared=True, size=count, dtype=self.dtype).view(self.shape)


class SharedMemory:
    """Owner of shared tensors. They are files without a name, so that even a killed process leaves none behind."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._files: list[str] = []

    def share(self, tensor: Tensor) -> SharedTensor:
        """A copy of `tensor` in shared memory."""
        shared = self.allocate(tuple(tensor.shape), tensor.dtype)
        shared.open().copy_(tensor)
        return shared

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> SharedTensor:
        """Zeros in shared memory."""
        size = torch.Size(shape).numel() * dtype.itemsize
        if hasattr(os, "memfd_create"):  # Linux
            descriptor = os.memfd_create("fedsyn")
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            descriptor, path = tempfile.mkstemp(prefix="fedsyn-")
            self._files.append(path)
        os.ftruncate(descriptor, size)
        self._descriptors.append(descriptor)
        return SharedTensor(path, dtype, shape)

    def close(self) -> None:
        """Let go; processes that have opened a tensor keep it until they end."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        for path in self._files:
            os.unlink(path)
        self._descriptors, self._files = [], []
