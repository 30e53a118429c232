"""Fresh weights from named draws, whatever the global random state."""

import numpy as np
from torch import from_numpy, nn, no_grad

from fedsyn.randomness import generator


def initialize(model: nn.Module, seed: int, stage: str) -> None:
    """Draw every weight of `model` anew, in place, from keyed generators: one for each module, by its name.

    The distributions are PyTorch's defaults: uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)) for linear and
    convolution layers and their biases, standard normal for embeddings, ones and zeros for normalisation. A module
    that says `starts_at_zero` begins with zeros throughout.

    Raises:
        TypeError: a module owns parameters and its default initialisation is not known here.
    """
    for name, module in model.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        draw = generator(seed, stage, f"initialize {name}")
        with no_grad():
            if getattr(module, "starts_at_zero", False):
                for parameter in module.parameters(recurse=False):
                    nn.init.zeros_(parameter)
            elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
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
