"""Between images and latents: space-to-depth and diffusers' AutoencoderKL, trained here or before; principal
components; or nothing."""

import math
from abc import ABC, abstractmethod
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from fedsyn.config import Autoencoder
from fedsyn.diffusion.principal_components import LARGEST
from fedsyn.models.linear_autoencoder import LinearAutoencoder

HALVED = 4
"""A U-Net of three levels halves a latent twice: its size must be a multiple of this."""


class Codec(nn.Module, ABC):
    """Images (B, C, H, W) in [-1, 1] <-> latents (B, c, h, w). Images are padded with black to a square of `padded`."""

    learned = True
    """Has a training made it, which may have failed?"""
    one_scale = False
    """Do the variances of its channels mean something, so that all of them are standardised by one deviation?"""

    def __init__(self, height: int, width: int, padded: int) -> None:
        super().__init__()
        self.height, self.width, self.padded = height, width, padded

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""

    def layout(self) -> dict[str, int]:
        """What makes this codec again, beside its network's weights: the numbers that its constructor takes."""
        return {"height": self.height, "width": self.width, "padded": self.padded}

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent's distribution, each (B, c, h, w)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, C, H, W), about in [-1, 1]."""

    def pad(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, P, P)."""
        left, top = (self.padded - self.width) // 2, (self.padded - self.height) // 2
        right, bottom = self.padded - self.width - left, self.padded - self.height - top
        return F.pad(images, (left, right, top, bottom), value=-1.0)

    def crop(self, images: Tensor) -> Tensor:
        """(B, C, P, P) -> (B, C, H, W)."""
        left, top = (self.padded - self.width) // 2, (self.padded - self.height) // 2
        return images[:, :, top : top + self.height, left : left + self.width]


class PixelCodec(Codec):
    """No autoencoder: the latent is the padded image itself, packed by `unshuffle` into more channels of fewer pixels,
    without spread."""

    learned = False

    def __init__(self, height: int, width: int, padded: int, channels: int, unshuffle: int) -> None:
        super().__init__(height, width, padded)
        self.channels, self.unshuffle = channels, unshuffle

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size = self.padded // self.unshuffle
        return self.channels * self.unshuffle**2, size, size

    def layout(self) -> dict[str, int]:
        return super().layout() | {"channels": self.channels, "unshuffle": self.unshuffle}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(self.pad(images), self.unshuffle)
        return x, torch.zeros_like(x)

    def decode(self, latents: Tensor) -> Tensor:
        return self.crop(F.pixel_shuffle(latents, self.unshuffle))


class LinearCodec(Codec):
    """Principal components: channels of one place each, the first of largest variance; without spread."""

    learned, one_scale = False, True

    def __init__(self, vae: LinearAutoencoder, height: int, width: int, padded: int) -> None:
        super().__init__(height, width, padded)
        self.vae = vae

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.vae.config.components, 1, 1

    def layout(self) -> dict[str, int]:
        return super().layout() | {"unshuffle": 1}  # for readers who take a codec as it comes

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.vae.encode(self.pad(images))
        return x, torch.zeros_like(x)

    def decode(self, latents: Tensor) -> Tensor:
        return self.crop(self.vae.decode(latents).sample)


class LatentAutoencoder(Codec):
    """A network that works on the image packed by `unshuffle` into more channels of fewer pixels, which makes it four
    (sixteen) times cheaper.

    `copies`: a greyscale image goes in so many times over, to a network of that many colours, and comes back as the
    mean of the colours.
    """

    def __init__(
        self, vae: AutoencoderKL, height: int, width: int, padded: int, unshuffle: int, copies: int = 1
    ) -> None:
        super().__init__(height, width, padded)
        self.vae, self.unshuffle, self.copies = vae, unshuffle, copies

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size = self.padded // self.unshuffle // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, size, size

    def layout(self) -> dict[str, int]:
        return super().layout() | {"unshuffle": self.unshuffle, "copies": self.copies}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pad(images)
        if self.copies > 1:
            x = x.repeat(1, self.copies, 1, 1)
        posterior = self.vae.encode(F.pixel_unshuffle(x, self.unshuffle)).latent_dist
        return posterior.mean, posterior.std

    def decode(self, latents: Tensor) -> Tensor:
        x = F.pixel_shuffle(self.vae.decode(latents).sample, self.unshuffle)  # (B, C * copies, P, P)
        return self.crop(x.mean(1, keepdim=True) if self.copies > 1 else x)


def build_autoencoder(settings: Autoencoder, channels: int, height: int, width: int) -> Codec:
    """What `settings.kind` says, for images (B, channels, height, width); `kl` and `linear` have yet to learn them.

    Raises:
        ValueError: the user's own autoencoder cannot be read, or does not fit the images.
    """
    if settings.kind == "pixel":
        padded = padded_to(settings.unshuffle * HALVED, height, width)
        return PixelCodec(height, width, padded, channels, settings.unshuffle)
    if settings.kind == "linear":
        return build_linear_codec(settings, channels, height, width)
    if settings.kind == "pretrained":
        return read_pretrained(str(settings.pretrained), channels, height, width)
    return build_kl_autoencoder(settings, channels, height, width)


def build_linear_codec(settings: Autoencoder, channels: int, height: int, width: int) -> LinearCodec:
    """Principal components that nobody has computed yet.

    Raises:
        ValueError: the images are too large, or have fewer values than there should be components.
    """
    padded = max(height, width)
    values = channels * padded**2
    if values > LARGEST:
        raise ValueError(
            f"autoencoder.kind 'linear' multiplies all pairs of an image's values, of which it takes at most "
            f"{LARGEST}, got {values}; choose 'kl'"
        )
    if settings.latent_channels > values:
        raise ValueError(
            f"autoencoder.latent_channels must be at most {values}, the values of an image, with autoencoder.kind "
            f"'linear', got {settings.latent_channels}"
        )
    return LinearCodec(LinearAutoencoder(channels, padded, settings.latent_channels), height, width, padded)


def build_kl_autoencoder(settings: Autoencoder, channels: int, height: int, width: int) -> LatentAutoencoder:
    """An untrained autoencoder for images (B, channels, height, width)."""
    levels, packed = len(settings.channels), channels * settings.unshuffle**2
    padded = padded_size(height, width, settings)
    vae = AutoencoderKL(
        in_channels=packed,
        out_channels=packed,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers_per_block,
        latent_channels=settings.latent_channels,
        norm_num_groups=8,
        sample_size=padded // settings.unshuffle,
        mid_block_add_attention=False,
    )
    vae = vae.to(memory_format=torch.channels_last)
    return LatentAutoencoder(vae, height, width, padded, settings.unshuffle)


def padded_size(height: int, width: int, settings: Autoencoder) -> int:
    """The least size that holds the image and whose latent a U-Net of three levels can halve twice."""
    return padded_to(settings.unshuffle * 2 ** (len(settings.channels) - 1) * HALVED, height, width)


def padded_to(multiple: int, height: int, width: int) -> int:
    """The least multiple that holds the image."""
    return math.ceil(max(height, width) / multiple) * multiple


def read_pretrained(folder: str, channels: int, height: int, width: int) -> LatentAutoencoder:
    """The user's own AutoencoderKL, for images (B, channels, height, width). Safetensors only: nothing is unpickled.

    Its own `scaling_factor` is not read: latents are standardised by their federated moments.

    Raises:
        ValueError: the folder is not what `AutoencoderKL.save_pretrained` writes, or its network does not fit.
    """
    vae = _read_vae(Path(folder))
    takes, gives = vae.config.in_channels, vae.config.out_channels
    fitting = (1, 3) if channels == 1 else (channels,)
    if takes != gives or takes not in fitting:
        raise ValueError(
            f"autoencoder.pretrained must take and give images of {' or '.join(map(str, fitting))} channels, as the "
            f"data set's, got {folder!r} with {takes} and {gives}; name another one, or choose autoencoder.kind 'kl'"
        )
    padded = padded_to(2 ** (len(vae.config.block_out_channels) - 1) * HALVED, height, width)
    model = LatentAutoencoder(vae, height, width, padded, unshuffle=1, copies=takes // channels)
    with torch.inference_mode():
        mean, _ = model.encode(torch.full((1, channels, height, width), -1.0))
        restored = model.decode(mean)
    if tuple(mean.shape[1:]) != model.latent_shape or tuple(restored.shape[1:]) != (channels, height, width):
        raise ValueError(
            f"autoencoder.pretrained must make latents {model.latent_shape} of images of {padded} pixels, which the "
            f"denoiser can halve, and give the images back, got {tuple(mean.shape[1:])} from {folder!r}; "
            "name another one, or choose autoencoder.kind 'kl'"
        )
    return model


def _read_vae(folder: Path) -> AutoencoderKL:
    wanted = "autoencoder.pretrained must be a folder that diffusers' AutoencoderKL.save_pretrained wrote"
    wayout = "save it with safe_serialization=True (the default), or choose autoencoder.kind 'kl'"
    if not (folder / "config.json").is_file():
        raise ValueError(f"{wanted}, with config.json in it, got {str(folder)!r}; {wayout}")
    try:
        vae, loaded = AutoencoderKL.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # every reader has its own ways to say that a file is missing or damaged
        raise ValueError(f"{wanted}, with safetensors, got {str(folder)!r} ({error}); {wayout}") from error
    if loaded["missing_keys"] or loaded["mismatched_keys"]:
        raise ValueError(f"{wanted}, with all of its weights, got {str(folder)!r} without {loaded['missing_keys'][:3]}")
    return vae.float().eval().to(memory_format=torch.channels_last)
