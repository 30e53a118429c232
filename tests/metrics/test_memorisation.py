"""What counts as a copy: copies do, real images that nobody trained on do not."""

import numpy as np
import pytest
import torch

from fedsyn.config import Dataset, Quality
from fedsyn.data.catalogue import load
from fedsyn.metrics.memorisation import nearest_training_images

SETTINGS = Quality()
DIGITS = load(Dataset())
IMAGES = torch.from_numpy(DIGITS.images)
TRAIN, TEST = IMAGES[: DIGITS.num_train], IMAGES[DIGITS.num_train :]


def memorised(images: torch.Tensor, training: torch.Tensor) -> float:
    found = nearest_training_images(images, training, SETTINGS.memorised_neighbours)
    return float((found.ratio < SETTINGS.memorised_ratio).double().mean())


def grey(*levels: int) -> torch.Tensor:
    """Images of 2 x 2 pixels of one grey each."""
    return torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 2, 2, 1)


def test_by_hand():
    """Grey 10 among 0, 40, 60 and 255, with k = 3: distances 10, 30 and 50, of which the mean is 30."""
    found = nearest_training_images(grey(10, 60), grey(255, 60, 0, 40), k=3)
    assert found.row.tolist() == [2, 1]
    assert found.distance.tolist() == pytest.approx([10 / 255, 0])
    assert found.ratio.tolist() == pytest.approx([1 / 3, 0])


def test_the_matrix_product_finds_what_a_loop_finds():
    images, training = TEST[:300], TRAIN[:500]
    found = nearest_training_images(images, training, 5)
    for image, distance, ratio in zip(images[::30], found.distance[::30], found.ratio[::30], strict=True):
        gaps = sorted(np.sqrt(np.mean(((image - other.float()).numpy() / 255) ** 2)) for other in training)
        assert float(distance) == pytest.approx(gaps[0])
        assert float(ratio) == pytest.approx(gaps[0] / np.mean(gaps[:5]))


def test_a_copied_training_set_is_memorised_to_the_last_image():
    found = nearest_training_images(TRAIN[:400], TRAIN, SETTINGS.memorised_neighbours)
    assert found.distance.max() == 0
    assert memorised(TRAIN[:400], TRAIN) == 1


def test_copies_with_a_little_noise_are_memorised_even_of_images_that_the_training_set_has_twice():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 13, TRAIN[:400].shape, dtype=np.uint8))
    noisy = torch.where(TRAIN[:400] > 128, TRAIN[:400] - noise, TRAIN[:400] + noise)  # by 2 % of the range
    assert memorised(noisy, TRAIN) > 0.99
    assert memorised(noisy, torch.cat([TRAIN, TRAIN])) > 0.99


@pytest.mark.parametrize("number", [200, 1437])
def test_real_images_that_no_training_has_seen_are_not(number):
    assert memorised(TEST, TRAIN[:number]) < 0.01


def test_a_training_set_smaller_than_k_and_one_of_equal_images_are_no_error():
    assert nearest_training_images(grey(10), grey(20, 40), k=50).ratio.tolist() == pytest.approx([0.5])
    assert nearest_training_images(grey(10), grey(20, 20), k=2).ratio.tolist() == [1]
    assert nearest_training_images(grey(20), grey(20, 20), k=2).ratio.tolist() == [0]
