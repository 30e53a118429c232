"""The Inception network of FID, KID and Inception score: torch-fidelity's port, with the user's own weights."""

import io
from pathlib import Path

import torch
from torch import Tensor

from fedsyn.metrics.features import Network


def load_inception(path: Path, device: torch.device) -> Network:
    """The network with the weights of a .safetensors file; its features are the 2048 of the last pooling, its
    predictions those of the 1,008 classes of the original graph.

    The library reads weights as a pickle. It is given one that was made here, in memory, out of plain tensors.

    Raises:
        ValueError: torch-fidelity is not installed, or the file does not hold the network's weights.
    """
    from safetensors.torch import load_file

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError(
            "quality.inception needs the package torch-fidelity: pip install 'fedsyn[inception]', or leave it empty"
        ) from error
    buffer = io.BytesIO()
    try:
        torch.save(load_file(path), buffer)
        buffer.seek(0)
        extractor = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], buffer)
    except Exception as error:  # whatever safetensors and load_state_dict may raise
        raise ValueError(
            f"quality.inception must hold the weights of torch-fidelity's Inception network as .safetensors, got "
            f"{str(path)!r}: {str(error).splitlines()[0]}; docs/quality.md has the line that makes it"
        ) from error
    return inception_network(extractor.to(device))


def inception_network(extractor: torch.nn.Module) -> Network:
    """An extractor of (features, logits) from RGB bytes (B, 3, H, W), which it resizes itself, as a network."""

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        rgb = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)  # one channel is repeated
        features, logits = extractor(rgb)
        return features, logits.softmax(1)

    return network
