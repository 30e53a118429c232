"""What is lost between an image and its reconstruction, against formulas and autoencoders whose loss is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsyn.diffusion.objectives import kl_divergence
from fedsyn.metrics.reconstruction import measure, restore, structural_similarity
from fedsyn.models.autoencoder import Codec

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8))


class Darkens(Codec):
    """Gives an image back darker by `loss` of 255, where that can be; its latents are the pixels in [-1, 1]."""

    def __init__(self, loss: int, std: float = 0.5) -> None:
        super().__init__(8, 8, 8)
        self.loss, self.std = loss, std

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, torch.full_like(images, self.std)

    def decode(self, latents: Tensor) -> Tensor:
        return latents - self.loss / 127.5


def test_what_is_restored_is_in_bytes_and_clipped():
    assert torch.equal(restore(Darkens(5), IMAGES), IMAGES.int().sub(5).clamp(min=0).to(torch.uint8))


def test_psnr_is_that_of_the_mean_error_over_all_images_however_they_are_cut():
    bright = IMAGES.clamp(min=5)
    for batch_size in (7, 30, 100):
        measured = measure(Darkens(5), bright, batch_size)
        assert measured.psnr_db == pytest.approx(20 * math.log10(255 / 5))
        assert measured.ssim == pytest.approx(float(structural_similarity(bright, bright - 5).mean()), rel=1e-6)


def test_nothing_lost_is_an_infinite_ratio_and_a_similarity_of_one():
    measured = measure(Darkens(0), IMAGES)
    assert (measured.psnr_db, measured.ssim) == (math.inf, pytest.approx(1))


def test_latents_are_described_per_channel():
    measured = measure(Darkens(0, std=0.25), IMAGES, 7)
    pixels = IMAGES.double() / 127.5 - 1
    assert measured.latent_mean == pytest.approx([float(pixels.mean())], abs=1e-6)
    assert measured.latent_std == pytest.approx([float(pixels.std(unbiased=False))], rel=1e-6)
    assert measured.posterior_std == pytest.approx([0.25])
    assert measured.kl_per_element == pytest.approx(float(kl_divergence(pixels, torch.tensor(0.25)).mean()), rel=1e-5)


def naive_ssim(first: np.ndarray, second: np.ndarray, size: int, sigma: float) -> float:
    """Wang et al. (2004): the mean over all windows that lie inside the image."""
    distance = np.arange(size) - size // 2
    window = np.exp(-(distance**2) / (2 * sigma**2))
    window = np.outer(window, window) / window.sum() ** 2
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for top in range(first.shape[0] - size + 1):
        for left in range(first.shape[1] - size + 1):
            x, y = (each[top : top + size, left : left + size].astype(float) for each in (first, second))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = (window * x**2).sum() - mean_x**2, (window * y**2).sum() - mean_y**2
            both = (window * x * y).sum() - mean_x * mean_y
            luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
            values.append(luminance * (2 * both + c2) / (var_x + var_y + c2))
    return float(np.mean(values))


@pytest.mark.parametrize(("side", "size", "sigma"), [(28, 11, 1.5), (11, 11, 1.5), (8, 7, 0.9), (4, 3, 0.3)])
def test_similarity_agrees_with_its_formula(side, size, sigma):
    rng = np.random.default_rng(side)
    first = rng.integers(0, 256, (3, side, side, 1), np.uint8)
    second = np.clip(first + rng.normal(0, 40, first.shape), 0, 255).astype(np.uint8)
    fast = structural_similarity(torch.from_numpy(first), torch.from_numpy(second))
    slow = [naive_ssim(one[..., 0], other[..., 0], size, sigma) for one, other in zip(first, second, strict=True)]
    assert fast.tolist() == pytest.approx(slow, abs=1e-4)


def test_an_image_too_small_for_any_window_has_no_similarity():
    assert structural_similarity(IMAGES[:2, :2, :2], IMAGES[:2, :2, :2]).isnan().tolist() == [True, True]
