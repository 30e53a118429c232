"""Pixels without an autoencoder, and an autoencoder of the user's own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from fedsyn.config import Autoencoder
from fedsyn.data.images import to_bytes, to_input
from fedsyn.models.autoencoder import LatentAutoencoder, PixelCodec, build_autoencoder
from fedsyn.models.initialize import initialize


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize(
    ("shape", "unshuffle", "latent"),
    [
        ((8, 8, 1), 1, (1, 8, 8)),
        ((28, 28, 1), 4, (16, 8, 8)),
        ((11, 6, 3), 1, (3, 12, 12)),
        ((11, 6, 3), 2, (12, 8, 8)),
    ],
)
def test_pixels_are_padded_to_what_a_u_net_can_halve_twice_and_come_back_to_the_byte(shape, unshuffle, latent):
    model = build_autoencoder(Autoencoder(kind="pixel", unshuffle=unshuffle), shape[2], *shape[:2])
    images = pictures(2, *shape)
    mean, std = model.encode(to_input(images))
    assert mean.shape[1:] == model.latent_shape == latent
    assert not std.any()
    assert torch.equal(to_bytes(model.decode(mean)), images)
    assert list(model.parameters()) == []
    again = PixelCodec(**model.layout())
    assert torch.equal(again.encode(to_input(images))[0], mean)


def test_all_principal_components_give_an_image_back_and_few_the_mean_along_the_others():
    model = build_autoencoder(Autoencoder(kind="linear", latent_channels=12), 1, 4, 3)
    assert model.latent_shape == (12, 1, 1)
    with torch.no_grad():
        model.vae.directions[:, :16] = torch.eye(16)[[0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]]  # all but the border
        model.vae.mean.fill_(-1)  # which is black
    images = pictures(2, 4, 3, 1)
    mean, std = model.encode(to_input(images))
    assert mean.shape == (2, 12, 1, 1)
    assert not std.any()
    assert torch.equal(to_bytes(model.decode(mean)), images)
    mean[:, 5:] = 0
    assert torch.equal(to_bytes(model.decode(mean))[:, 1, 2:], torch.zeros(2, 1, 1, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("shape", "components", "message"),
    [((3, 64, 64), 4, r"at most 4096, got 12288; choose 'kl'"), ((1, 8, 8), 65, r"latent_channels must be at most 64")],
)
def test_what_has_no_principal_components_is_refused(shape, components, message):
    with pytest.raises(ValueError, match=message):
        build_autoencoder(Autoencoder(kind="linear", latent_channels=components), *shape)


def save(folder: Path, in_channels: int, out_channels: int | None = None, **options: object) -> str:
    """A small autoencoder with one halving, as diffusers writes it."""
    vae = AutoencoderKL(
        in_channels=in_channels,
        out_channels=out_channels or in_channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=8,
        latent_channels=2,
    )
    initialize(vae, 0, "autoencoder")
    vae.save_pretrained(folder, **options)
    return str(folder)


@pytest.fixture(scope="module")
def of_colours(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("own") / "vae", 3)


def own(folder: str, channels: int, height: int = 10, width: int = 7) -> LatentAutoencoder:
    return build_autoencoder(Autoencoder(kind="pretrained", pretrained=folder), channels, height, width)


def test_an_autoencoder_of_the_user_s_own_is_used_as_it_is(of_colours):
    model = own(of_colours, channels=3)
    images = to_input(pictures(2, 10, 7, 3))
    mean, std = model.encode(images)
    assert mean.shape[1:] == std.shape[1:] == model.latent_shape == (2, 8, 8)  # 16 pixels a side, halved once
    vae = AutoencoderKL.from_pretrained(of_colours, use_safetensors=True)
    assert torch.allclose(mean, vae.encode(model.pad(images)).latent_dist.mean, atol=1e-5)
    assert model.decode(mean).shape == images.shape
    assert model.layout()["copies"] == 1


def test_greyscale_images_go_through_an_autoencoder_of_colours_three_times_over_and_come_back_as_the_mean(of_colours):
    grey, colour = own(of_colours, channels=1), own(of_colours, channels=3)
    images = to_input(pictures(2, 10, 7, 1))
    mean, _ = grey.encode(images)
    assert torch.equal(mean, colour.encode(images.expand(-1, 3, -1, -1))[0])
    assert torch.allclose(grey.decode(mean), colour.decode(mean).mean(1, keepdim=True), atol=1e-6)
    again = LatentAutoencoder(grey.vae, **grey.layout())
    assert torch.equal(again.encode(images)[0], mean)


def refused(folder: object, channels: int = 3) -> str:
    with pytest.raises(ValueError, match=r"autoencoder\.pretrained must .* got '.*") as error:
        own(str(folder), channels)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_an_autoencoder_that_does_not_fit_the_images_is_refused_with_the_way_out(of_colours, tmp_path):
    assert "images of 4 channels" in refused(of_colours, channels=4)
    assert "images of 3 channels" in refused(save(tmp_path / "four", 4))
    uneven = refused(save(tmp_path / "uneven", 3, 1), channels=1)
    assert "images of 1 or 3 channels" in uneven
    assert "with 3 and 1; name another one, or choose autoencoder.kind 'kl'" in uneven


def test_a_folder_that_is_none_of_diffusers_is_refused(tmp_path, of_colours):
    assert "with config.json" in refused(tmp_path / "nowhere")
    assert "with config.json" in refused("stabilityai/sd-vae-ft-mse")  # nothing is fetched
    shutil.copytree(of_colours, tmp_path / "without")
    (tmp_path / "without" / "diffusion_pytorch_model.safetensors").unlink()
    assert "with safetensors" in refused(tmp_path / "without")
    shutil.copytree(of_colours, tmp_path / "damaged")
    (tmp_path / "damaged" / "diffusion_pytorch_model.safetensors").write_bytes(b"no tensors")
    assert "with safetensors" in refused(tmp_path / "damaged")


def test_pickled_weights_are_not_read(tmp_path):
    folder = save(tmp_path / "pickled", 3, safe_serialization=False)
    assert [path.suffix for path in Path(folder).iterdir() if path.suffix != ".json"] == [".bin"]
    assert "with safetensors" in refused(folder)


def test_weights_that_are_missing_are_not_made_up(tmp_path, of_colours):
    from safetensors.torch import load_file, save_file

    shutil.copytree(of_colours, tmp_path / "part")
    path = tmp_path / "part" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.conv_in.weight"]
    save_file(tensors, path, {"format": "pt"})
    assert "encoder.conv_in.weight" in refused(tmp_path / "part")
