"""The denoiser of vectors: what it computes, by a twin in NumPy, and that it is called and kept as a U-Net is."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from fedsyn.config import Denoiser
from fedsyn.models.denoiser import build_denoiser, load_denoiser
from fedsyn.models.initialize import initialize
from fedsyn.models.mlp_denoiser import MLPDenoiser
from tests import handmade

SETTINGS = Denoiser(architecture="mlp", channels=(16,), layers_per_block=2)


def trained() -> MLPDenoiser:
    model = build_denoiser(SETTINGS, 3, 2, 10)
    initialize(model, 0, "denoiser")
    handmade.fill(model)
    return model


def latents(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((count, 3, 2, 2), np.float32))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def test_it_computes_what_its_twin_computes():
    model = trained()
    x, times, labels = latents(4), torch.tensor([0, 3, 500, 999]), torch.tensor([0, 10, 4, 4])
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    angles = times[:, None].numpy() * 10_000 ** (-np.arange(128) / 128)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    time = linear("time_embedding.linear_2", silu(linear("time_embedding.linear_1", waves)))
    condition = silu(time + weights["class_embedding.weight"][labels])
    h = linear("first", x.flatten(1).double().numpy())
    for block in ("blocks.0", "blocks.1"):
        shift, scale, gate = np.split(linear(f"{block}.modulation", condition), 3, axis=1)
        h = h + gate * linear(f"{block}.down", silu(linear(f"{block}.up", norm(h) * (1 + scale) + shift)))
    shift, scale = np.split(linear("modulation", condition), 2, axis=1)
    expected = linear("last", norm(h) * (1 + scale) + shift)

    answer = model(x, times, class_labels=labels).sample
    assert answer.shape == x.shape
    assert answer.flatten(1).detach().numpy() == pytest.approx(expected, abs=1e-3)


def test_untrained_it_predicts_zero_and_its_blocks_change_nothing():
    model = build_denoiser(SETTINGS, 3, 2, 10)
    initialize(model, 0, "denoiser")
    assert not model(latents(2), torch.tensor([1, 2]), class_labels=torch.tensor([0, 1])).sample.any()
    x, condition = torch.ones(2, 16).cumsum(1), torch.ones(2, 256)
    assert torch.equal(model.blocks[0](x, condition), x)


def test_one_time_step_serves_all():
    model, x, labels = trained(), latents(3), torch.tensor([1, 2, 10])
    each, one = (model(x, torch.tensor(time), class_labels=labels).sample for time in ([7, 7, 7], 7))
    assert torch.equal(each, one)


def test_what_was_saved_is_loaded_as_what_it_is(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path / "mlp")
    again = load_denoiser(tmp_path / "mlp")
    assert isinstance(again, MLPDenoiser)
    assert all(torch.equal(*pair) for pair in zip(again.parameters(), model.parameters(), strict=True))
    assert (again.config.width, again.config.num_blocks, again.config.num_class_embeds) == (16, 2, 11)
    build_denoiser(Denoiser(channels=(8,)), 3, 2, 10).save_pretrained(tmp_path / "unet")
    assert isinstance(load_denoiser(tmp_path / "unet"), UNet2DModel)
