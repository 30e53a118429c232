"""Bytes to network input and back, and augmentation against a loop over the images."""

import numpy as np
import pytest
import torch

from fedsyn.data.images import augment, draw_augmentation, to_bytes, to_input


def pictures(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def test_bytes_become_numbers_from_minus_one_to_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 3, 1)
    assert to_input(images).flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0])
    assert to_input(images).dtype == torch.float32


def test_rows_columns_and_channels_keep_their_places():
    images = pictures(2, 3, 4, 5)
    network_input = to_input(images)
    assert network_input.shape == (2, 5, 3, 4)
    assert network_input[1, 4, 2, 3] == pytest.approx(images[1, 2, 3, 4].item() / 127.5 - 1)


def test_every_byte_comes_back():
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 8, 4, 2)
    assert torch.equal(to_bytes(to_input(images)), images)


def test_values_outside_are_clipped_and_values_between_are_rounded():
    output = torch.tensor([-3.0, -1.0, 0.6 / 127.5 - 1, 1.0, 7.0]).reshape(1, 1, 1, 5)
    assert to_bytes(output).flatten().tolist() == [0, 0, 1, 255, 255]


def test_to_bytes_leaves_its_input_as_it_was():
    output = torch.zeros(1, 1, 2, 2)
    to_bytes(output)
    assert output.tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]


def test_to_input_leaves_its_input_as_it_was():
    images = pictures(2, 4, 4, 1)
    before = images.clone()
    to_input(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_channels_last_in_memory(channels):
    batch = to_input(pictures(4, 8, 8, channels))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.stride() == (64 * channels, 1, 8 * channels, channels)


def test_bytes_are_contiguous():
    assert to_bytes(torch.zeros(2, 3, 4, 4)).is_contiguous()


def augmented(images: torch.Tensor, policy: str, seed: int) -> torch.Tensor:
    draws = draw_augmentation(policy, len(images), images.shape[1], np.random.default_rng(seed))
    return augment(images, tuple(torch.from_numpy(array) for array in draws))


def augment_one_by_one(images: torch.Tensor, policy: str, rng: np.random.Generator) -> torch.Tensor:
    count, height, width, channels = images.shape
    reach = height // 8
    offsets = rng.integers(0, 2 * reach + 1, (count, 2))
    flips = rng.random(count) < 0.5 if policy == "shift-flip" else np.zeros(count, dtype=bool)
    results = []
    for image, (top, left), flip in zip(images.numpy(), offsets, flips, strict=True):
        framed = np.zeros((height + 2 * reach, width + 2 * reach, channels), dtype=np.uint8)
        framed[reach : reach + height, reach : reach + width] = image
        cropped = framed[top : top + height, left : left + width]
        results.append(cropped[:, ::-1] if flip else cropped)
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize("policy", ["shift", "shift-flip"])
@pytest.mark.parametrize("shape", [(16, 8, 8, 1), (16, 28, 28, 1), (5, 32, 32, 3), (4, 16, 24, 3), (3, 4, 4, 1)])
def test_augmentation_agrees_with_a_loop_over_the_images(policy, shape):
    images = pictures(*shape)
    fast, slow = augmented(images, policy, 5), augment_one_by_one(images, policy, np.random.default_rng(5))
    assert fast.dtype == torch.uint8
    assert torch.equal(fast, slow)


def test_without_augmentation_nothing_is_drawn_or_changed():
    images, rng = pictures(2, 8, 8, 1), np.random.default_rng(0)
    assert draw_augmentation("none", 2, 8, rng) == ()
    assert rng.random() == np.random.default_rng(0).random()
    assert augment(images, ()) is images


def test_an_image_without_shift_and_flip_stays_as_it_is_and_one_with_them_moves_as_drawn():
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8, 1)
    middle, corner = torch.tensor([[1, 1]]), torch.tensor([[2, 0]])
    assert torch.equal(augment(image, (middle,)), image)
    assert torch.equal(augment(image, (middle, torch.tensor([True]))), image.flip(2))
    moved = augment(image, (corner,))  # one row up, one column to the right, zeros come in
    assert torch.equal(moved[:, :-1, 1:], image[:, 1:, :-1])
    assert moved[:, -1].sum() == moved[:, :, 0].sum() == 0


def test_shifts_reach_one_pixel_of_eight_in_every_direction_and_half_is_flipped():
    image = torch.zeros(1, 8, 8, 1, dtype=torch.uint8)
    image[0, 2, 2] = 1
    seen = augmented(image.expand(2000, 8, 8, 1), "shift-flip", 0).nonzero()[:, 1:3]
    places = {tuple(place) for place in seen.tolist()}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3, 4, 5, 6)}
    assert (seen[:, 1] >= 4).double().mean().item() == pytest.approx(0.5, abs=0.05)
