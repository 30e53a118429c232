"""Images in the eyes of a judge, or of the Inception network."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedsyn.config import Classifier, Quality
from fedsyn.data.images import to_input
from fedsyn.metrics.features import embed, judge_network
from fedsyn.metrics.inception import inception_network, load_inception
from fedsyn.models.classifier import build_classifier

CPU = torch.device("cpu")


def pictures(number: int, channels: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (number, 8, 8, channels), dtype=np.uint8))


@pytest.mark.parametrize("number", [1, 9, 10, 11])
def test_the_batch_does_not_matter_and_the_last_layer_reads_the_features(number):
    model = build_classifier(Classifier(width=8), 1, 8, 8, 3)
    images = pictures(number)
    seen = embed(judge_network(model), images, CPU, batch_size=5)
    assert seen.features.shape == (number, 32)
    assert seen.features.dtype == seen.probabilities.dtype == torch.float64
    expected = model(to_input(images)).softmax(1).double()
    torch.testing.assert_close(seen.probabilities, expected, atol=1e-6, rtol=0)


def test_chosen_rows():
    seen = embed(judge_network(build_classifier(Classifier(width=8), 1, 8, 8, 3)), pictures(6), CPU)
    assert torch.equal(seen[np.array([4, 1])].features, seen.features[[4, 1]])


class Corner(nn.Module):
    """A stand-in for torch-fidelity's extractor: what it is given is what it gives."""

    def forward(self, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert (rgb.dtype, rgb.shape[1]) == (torch.uint8, 3)
        corner = rgb[:, :, 0, 0].float()
        return corner, corner


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_is_given_three_channels_of_bytes(channels):
    images = pictures(4, channels)
    seen = embed(inception_network(Corner()), images, CPU)
    assert torch.equal(seen.features, images[:, 0, 0].double().expand(4, 3))
    assert seen.probabilities.sum(1).tolist() == pytest.approx([1] * 4)


def test_a_pickle_of_weights_is_refused_at_the_door():
    with pytest.raises(ValueError, match=r"must be a \.safetensors file, got 'weights\.pth'.*docs/quality\.md"):
        Quality(inception="weights.pth")


def test_weights_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"quality\.inception must be a file .* got '/nowhere/w\.safetensors'"):
        Quality(inception="/nowhere/w.safetensors").key_fields()


def test_without_the_package_or_with_other_weights_the_way_out_is_named(tmp_path):
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"quality\.inception (needs .* 'fedsyn\[inception\]'|must hold .* docs/quality)"
    ):
        load_inception(tmp_path / "w.safetensors", CPU)
