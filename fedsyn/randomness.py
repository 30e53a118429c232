"""Randomness is a name, not a stream: every draw comes from a generator keyed by what the draw is for.

No order of clients, batch size, engine, device or interruption can change a draw, because no draw comes after
another one. All draws are made by NumPy on the host: the names are hashed to the 128-bit key of a Philox
counter generator (Salmon et al., 2011), so streams never collide, and a GPU run draws what a CPU run draws.
"""

import hashlib
import json

import numpy as np
from torch import nn


def generator(
    seed: int,
    stage: str,
    purpose: str,
    *,
    round_index: int | None = None,
    client_id: int | None = None,
    class_id: int | None = None,
    index: int | None = None,
) -> np.random.Generator:
    """The generator of one named draw; the same names give the same stream, other names an independent one."""
    name = json.dumps([seed, stage, purpose, round_index, client_id, class_id, index])
    key = hashlib.sha256(name.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def initialize(model: nn.Module, seed: int, stage: str) -> None:
    """Draw every weight of `model` anew, in place, from keyed generators: one for each module, by its name.

    The distributions are PyTorch's defaults: uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)) for linear and
    convolution layers and their biases, standard normal for embeddings, ones and zeros for normalisation.

    Raises:
        TypeError: a module owns parameters and its default initialisation is not known here.
    """
    from torch import from_numpy, no_grad

    for name, module in model.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        draw = generator(seed, stage, f"initialize {name}")
        with no_grad():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters(recurse=False):
                    values = draw.uniform(-bound, bound, tuple(parameter.shape)).astype(np.float32)
                    parameter.copy_(from_numpy(values))
            elif isinstance(module, nn.Embedding):
                module.weight.copy_(from_numpy(draw.standard_normal(tuple(module.weight.shape), np.float32)))
            elif isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            else:
                raise TypeError(f"no keyed initialisation for {type(module).__name__} (module {name!r})")
