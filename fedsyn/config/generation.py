"""Steps 3 and 4: the autoencoder, the denoiser, and the images that are made with them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from fedsyn.config.federated import FederatedTraining
from fedsyn.config.section import BY_CONTENT, Positive, Probability, Section


def _require_multiples_of_8(channels: tuple[int, ...]) -> None:
    odd = [width for width in channels if width % 8]
    if odd:
        raise ValueError(f"channels must be multiples of 8 (GroupNorm has 8 groups), got {odd[0]}")


READ_BY_KIND = {
    "linear": ("kind", "latent_channels"),
    "pixel": ("kind", "unshuffle"),
    "pretrained": ("kind", "pretrained"),
}
"""The fields of `Autoencoder` that its kinds without a training read."""


class Autoencoder(FederatedTraining):
    """Step 3a: the KL-regularised autoencoder, by FedAvg over all images; or principal components, none, or the user's
    own.

    Only `kl` is trained, so that the other kinds read neither the network's fields nor those of the training; of them
    `linear` reads `latent_channels`.
    """

    kind: Literal["kl", "linear", "pixel", "pretrained"] = Field(
        "kl",
        description="`kl`: trained here; `linear`: the principal components of all images, by one exchange of sums "
        "(small images); `pixel`: none, diffusion of the pixels (tiny images); `pretrained`: a folder that diffusers' "
        "AutoencoderKL.save_pretrained wrote",
    )
    pretrained: str | None = Field(
        None,
        description="Folder of the `pretrained` autoencoder, with safetensors; greyscale images go through an "
        "autoencoder of colours three times over, and come back as the mean",
        json_schema_extra=BY_CONTENT,
    )

    unshuffle: Literal[1, 2, 4] = Field(
        2, description="Space-to-depth factor before the network: 2 makes it about four times cheaper"
    )
    channels: tuple[Positive, ...] = Field(
        (32, 64),
        min_length=1,
        max_length=4,
        description="Channels of each level; each further level halves the size",
    )
    latent_channels: Positive = Field(4, description="Channels of a latent; of `linear`, the number of components")
    layers_per_block: Positive = Field(1, description="Residual layers of a level")
    kl_weight: float = Field(1e-4, ge=0, description="Weight of the Kullback-Leibler term per latent element")

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> "Autoencoder":
        _require_multiples_of_8(self.channels)
        return self

    def key_fields(self) -> dict[str, Any]:
        """Those that the kind reads: another one changes nothing, and makes nothing anew."""
        fields = super().key_fields()
        return {name: fields[name] for name in READ_BY_KIND.get(self.kind, fields)}

    @model_validator(mode="after")
    def _folder_belongs_to_pretrained(self) -> "Autoencoder":
        if self.kind == "pretrained" and self.pretrained is None:
            raise ValueError(
                "kind 'pretrained' needs pretrained, the folder that AutoencoderKL.save_pretrained wrote, got none; "
                "set it, or choose kind 'kl'"
            )
        if self.kind != "pretrained" and self.pretrained is not None:
            raise ValueError(
                f"pretrained is read with kind 'pretrained' only, got {self.pretrained!r} with kind {self.kind!r}; "
                "set kind 'pretrained', or leave pretrained empty"
            )
        return self


class Latents(Section):
    """Step 3b: the images as the denoiser sees them. Encoded once, whatever the denoiser is."""

    augmentation: Literal["none", "flip", "posterior"] = Field(
        "none",
        description="`flip`: images and their mirror images, both encoded, each shown half of the time; `posterior`: "
        "latents are drawn from the autoencoder's distribution instead of being its mean",
    )


class Denoiser(FederatedTraining):
    """Step 3c: the class-conditional denoiser of latents, by FedAvg."""

    architecture: Literal["unet", "mlp"] = Field(
        "unet",
        description="`unet`: diffusers' UNet2DModel; `mlp`: residual blocks with adaptive layer norm over the latent "
        "as one vector, which is what principal components are",
    )
    channels: tuple[Positive, ...] = Field(
        (64, 128),
        min_length=1,
        max_length=3,
        description="Channels of each level; each further level halves the size. An `mlp` has one level: its width",
    )
    layers_per_block: Positive = Field(1, description="Residual layers of a level; residual blocks of an `mlp`")
    attention: bool = Field(True, description="Self-attention at the coarsest level")
    prediction: Literal["v_prediction", "epsilon", "sample", "flow"] = Field(
        "v_prediction",
        description="What the network predicts; `flow` is flow matching: straight lines from noise to image take the "
        "place of the noise schedule",
    )
    min_snr_gamma: float | None = Field(
        None, gt=0, description="Cap gamma on the signal-to-noise weight of the loss (min-SNR; 5 is usual); empty: none"
    )
    noise_schedule: Literal["squaredcos_cap_v2", "linear"] = Field(
        "squaredcos_cap_v2", description="Course of the noise: cosine, or linear beta"
    )
    timesteps: int = Field(1000, ge=10, description="Diffusion steps T of training")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="Probability of training without the label, for classifier-free guidance"
    )

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> "Denoiser":
        _require_multiples_of_8(self.channels)
        return self

    @model_validator(mode="after")
    def _an_mlp_has_one_width(self) -> "Denoiser":
        if self.architecture == "mlp" and len(self.channels) > 1:
            raise ValueError(
                f"channels must be one number, the width, with architecture 'mlp', got {list(self.channels)}; "
                "set channels [768], say, or architecture 'unet'"
            )
        return self

    @model_validator(mode="after")
    def _flow_has_no_noise_schedule(self) -> "Denoiser":
        if self.prediction != "flow":
            return self
        if self.min_snr_gamma is not None:
            raise ValueError(
                f"min_snr_gamma weighs the steps of a diffusion, which prediction 'flow' is not, got "
                f"{self.min_snr_gamma:g}; leave it empty, or choose prediction 'v_prediction'"
            )
        if self.noise_schedule != "squaredcos_cap_v2":
            raise ValueError(
                f"noise_schedule is a diffusion's, and prediction 'flow' has none, got {self.noise_schedule!r}; "
                "leave it out, or choose prediction 'v_prediction'"
            )
        return self


class Synthesis(Section):
    """Step 4: the plan of each client, and the images."""

    target: Literal["absent", "balance", "global", "fixed"] = Field(
        "balance",
        description="`absent`: only classes of which the client has nothing; `balance`: every class up to `per_class`; "
        "`global`: the client's mixture becomes the global one; `fixed`: `per_class` synthetic images of every class, "
        "whatever the client has",
    )
    per_class: Positive | None = Field(
        None,
        description="Images of a class after `absent` or `balance` (empty: as many as the client's largest class); "
        "synthetic images of a class under `fixed`",
    )
    have: Literal["labels", "labels_and_pseudo_labels"] = Field(
        "labels", description="What a client has of a class, for the plan: its labels, or selected pseudo-labels too"
    )
    shared_pool: bool = Field(
        False,
        description="Draw one pool of images for all clients and deal it out, the same image to several: the global "
        "model is the same for all, so this saves time and loses variety. Off, as in the paper",
    )
    budget: Positive | None = Field(None, description="Most images that a client generates; empty: no limit")
    sampler: Literal["ddim", "dpm-solver++", "unipc", "euler"] = Field(
        "unipc",
        description="Sampler of diffusers. `ddim` is for a diffusion, `euler` for denoiser.prediction `flow`, the "
        "others for both",
    )
    steps: Positive = Field(10, description="Steps of the sampler")
    guidance_scale: float = Field(
        1.5, ge=1, description="Classifier-free guidance w: 1 samples the conditional model as it is"
    )
    guidance_interval: tuple[Probability, Probability] = Field(
        (0.0, 1.0),
        description="Part of the noise course, from 0 (image) to 1 (noise), in which guidance acts; outside, w is 1, "
        "and a step takes half the time",
    )
    batch_size: Positive | None = Field(
        128,
        description="Images drawn at once; the noise of an image does not depend on it. Empty: 128 on a CPU, on a GPU "
        "what half of its memory holds",
    )
    filter: bool = Field(False, description="Keep only images whose class the step-1 classifier confirms")

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "Synthesis":
        if self.target == "fixed" and self.per_class is None:
            raise ValueError("target 'fixed' needs per_class, the number of synthetic images of a class, got null")
        low, high = self.guidance_interval
        if low >= high:
            raise ValueError(
                f"guidance_interval must ascend, got [{low:g}, {high:g}]; use [0, 1] for guidance everywhere, and "
                "guidance_scale 1 for none"
            )
        return self
