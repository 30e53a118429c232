"""The losses of autoencoder and denoiser against models that know the answer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from fedsyn.config import Denoiser
from fedsyn.data.images import to_input
from fedsyn.diffusion.objectives import autoencoder_loss, denoising_loss, standard_normal
from fedsyn.models.denoiser import noise_scheduler

LATENTS = torch.from_numpy(np.random.default_rng(12345).standard_normal((16, 4, 2, 2), np.float32))
LABELS = torch.arange(16) % 3
NO_LABEL = 3


class KnowsTheTarget(nn.Module):
    """Finds the noise of x_t = a_t x + s_t e from the x that it knows, and answers right but for `error`."""

    def __init__(self, kind: str, alphas_cumprod: Tensor, error: float = 0.0) -> None:
        super().__init__()
        self.kind, self.alphas_cumprod, self.error = kind, alphas_cumprod.double(), error
        self.timesteps: list[int] = []
        self.labels: list[int] = []

    def forward(self, noisy: Tensor, timesteps: Tensor, class_labels: Tensor) -> SimpleNamespace:
        self.timesteps += timesteps.tolist()
        self.labels += class_labels.tolist()
        a = self.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        s = (1 - self.alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
        x = LATENTS.double()
        noise = (noisy.double() - a * x) / s
        target = {"v_prediction": a * noise - s * x, "epsilon": noise, "sample": x}[self.kind]
        return SimpleNamespace(sample=target.float() + self.error)


def denoise(kind: str, error: float = 0.0, dropout: float = 0.0, seed: int = 0, schedule: str = "squaredcos_cap_v2"):
    scheduler = noise_scheduler(Denoiser(prediction=kind, noise_schedule=schedule))
    model = KnowsTheTarget(kind, scheduler.alphas_cumprod, error)
    loss = denoising_loss(scheduler, dropout, NO_LABEL)(model, (LATENTS, LABELS), np.random.default_rng(seed))
    return loss.item(), model


@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear"])
@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_a_model_that_knows_the_target_has_no_loss(kind, schedule):
    assert denoise(kind, schedule=schedule)[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_the_loss_is_the_mean_squared_error(kind):
    assert denoise(kind, error=0.5)[0] == pytest.approx(0.25, rel=1e-3)


def test_a_model_that_answers_another_question_has_a_loss():
    scheduler = noise_scheduler(Denoiser(prediction="v_prediction"))
    model = KnowsTheTarget("epsilon", scheduler.alphas_cumprod)
    loss = denoising_loss(scheduler, 0.0, NO_LABEL)(model, (LATENTS, LABELS), np.random.default_rng(0))
    assert loss.item() > 0.1


def test_half_precision_latents_are_trained_on_in_full():
    scheduler = noise_scheduler(Denoiser(prediction="sample"))
    model = KnowsTheTarget("sample", scheduler.alphas_cumprod)
    loss = denoising_loss(scheduler, 0.0, NO_LABEL)(model, (LATENTS.half(), LABELS), np.random.default_rng(0))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_labels_are_dropped_with_the_probability_asked_for_and_never_changed():
    labels = torch.cat([torch.tensor(denoise("sample", dropout=0.1, seed=seed)[1].labels) for seed in range(200)])
    dropped = labels == NO_LABEL
    assert dropped.double().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(labels[~dropped], LABELS.repeat(200)[~dropped])


def test_without_dropout_every_label_is_seen():
    assert denoise("sample")[1].labels == LABELS.tolist()


def test_every_timestep_is_drawn_equally_often():
    drawn = np.concatenate([denoise("sample", seed=seed)[1].timesteps for seed in range(300)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    assert np.histogram(drawn, 10, (0, 1000))[0] / len(drawn) == pytest.approx(0.1, abs=0.02)


class Autoencoder(nn.Module):
    """A posterior that is given, and a decoder that answers `restored`."""

    def __init__(self, mean: Tensor, std: Tensor, restored: Tensor) -> None:
        super().__init__()
        self.mean, self.std, self.restored = mean, std, restored
        self.decoded: list[Tensor] = []

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean, self.std

    def decode(self, latents: Tensor) -> Tensor:
        self.decoded.append(latents)
        return self.restored


IMAGES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1), np.uint8))
MEAN, STD = LATENTS[:5], LATENTS[5:10].abs() + 0.1


def test_the_kl_term_is_that_of_torch_per_latent_element():
    model = Autoencoder(MEAN, STD, to_input(IMAGES))
    loss = autoencoder_loss(0.01)(model, (IMAGES,), np.random.default_rng(0))
    expected = kl_divergence(Normal(MEAN, STD), Normal(0.0, 1.0)).mean()
    assert loss.item() == pytest.approx(0.01 * expected.item(), rel=1e-5)


def test_the_reconstruction_term_is_the_mean_squared_error():
    model = Autoencoder(torch.zeros_like(MEAN), torch.ones_like(STD), to_input(IMAGES) + 0.5)
    assert autoencoder_loss(1.0)(model, (IMAGES,), np.random.default_rng(0)).item() == pytest.approx(0.25)


def test_what_is_decoded_is_drawn_from_the_posterior():
    model = Autoencoder(MEAN, STD, to_input(IMAGES))
    for seed in range(2000):
        autoencoder_loss(0.0)(model, (IMAGES,), np.random.default_rng(seed))
    drawn = (torch.stack(model.decoded) - MEAN) / STD
    assert drawn.mean(0).abs().max() < 0.1
    assert (drawn.std(0) - 1).abs().max() < 0.1


def test_noise_is_a_draw_of_its_generator():
    noise = standard_normal(torch.Size([3, 2]), np.random.default_rng(4), torch.device("cpu"))
    assert noise.dtype == torch.float32
    assert (noise.numpy() == np.random.default_rng(4).standard_normal((3, 2), np.float32)).all()
