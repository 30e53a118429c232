"""The losses of autoencoder and denoiser against models that know the answer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from fedsyn.config import Denoiser
from fedsyn.data.images import to_input
from fedsyn.diffusion.objectives import (
    AutoencoderLoss,
    DenoisingLoss,
    FlowMatchingLoss,
    denoising_loss,
    min_snr_weights,
)
from fedsyn.models.denoiser import noise_scheduler

LATENTS = torch.from_numpy(np.random.default_rng(12345).standard_normal((16, 4, 2, 2), np.float32))
LABELS = torch.arange(16) % 3
NO_LABEL = 3


def losses(objective, model: nn.Module, batch: tuple[Tensor, ...], seed: int = 0) -> Tensor:
    """The loss of each sample, with the objective's own draws."""
    draws = objective.draw(len(batch[0]), np.random.default_rng(seed))
    return objective.losses(model, batch, tuple(torch.from_numpy(array) for array in draws))


class KnowsTheTarget(nn.Module):
    """Finds the noise of x_t = a_t x + s_t e from the x that it knows, and answers right but for `error`."""

    def __init__(self, kind: str, alphas_cumprod: Tensor, error: float | Tensor = 0.0) -> None:
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
    objective = DenoisingLoss(scheduler, dropout, NO_LABEL, (4, 2, 2))
    return losses(objective, model, (LATENTS, LABELS), seed).mean().item(), model


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
    assert losses(DenoisingLoss(scheduler, 0.0, NO_LABEL, (4, 2, 2)), model, (LATENTS, LABELS)).mean() > 0.1


def test_every_latent_has_a_loss_of_its_own():
    scheduler = noise_scheduler(Denoiser(prediction="sample"))
    model = KnowsTheTarget("sample", scheduler.alphas_cumprod, error=(torch.arange(16.0) / 10)[:, None, None, None])
    each = losses(DenoisingLoss(scheduler, 0.0, NO_LABEL, (4, 2, 2)), model, (LATENTS, LABELS))
    assert each.tolist() == pytest.approx([(k / 10) ** 2 for k in range(16)], abs=1e-6)


def test_the_draws_of_the_denoiser_are_noise_time_steps_and_dropped_labels():
    objective = DenoisingLoss(noise_scheduler(Denoiser(timesteps=50)), 0.25, NO_LABEL, (3, 4, 4))
    noise, timesteps, dropped = objective.draw(2000, np.random.default_rng(0))
    assert (noise.shape, noise.dtype) == ((2000, 3, 4, 4), np.float32)
    assert (noise.mean(), noise.std()) == pytest.approx((0, 1), abs=0.01)
    assert set(timesteps) == set(range(50))
    assert (dropped.dtype, dropped.mean()) == (np.bool_, pytest.approx(0.25, abs=0.03))


def test_half_precision_latents_are_trained_on_in_full():
    scheduler = noise_scheduler(Denoiser(prediction="sample"))
    model = KnowsTheTarget("sample", scheduler.alphas_cumprod)
    each = losses(DenoisingLoss(scheduler, 0.0, NO_LABEL, (4, 2, 2)), model, (LATENTS.half(), LABELS))
    assert each.dtype == torch.float32
    assert each.tolist() == pytest.approx([0] * 16, abs=1e-6)


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


# --- min-SNR ---


def test_min_snr_weights_by_hand():
    signal = torch.tensor([0.9, 0.5, 0.2])  # SNR 9, 1 and 1/4
    assert min_snr_weights(signal, "sample", 5).tolist() == pytest.approx([5, 1, 0.25])
    assert min_snr_weights(signal, "epsilon", 5).tolist() == pytest.approx([5 / 9, 1, 1])
    assert min_snr_weights(signal, "v_prediction", 5).tolist() == pytest.approx([0.5, 0.5, 0.2])


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_under_min_snr_an_error_of_the_sample_counts_the_same_whatever_is_predicted(kind):
    """x' = x + d is the velocity's error -d / s, and the noise's -d a / s."""
    settings = Denoiser(prediction=kind, min_snr_gamma=5, label_dropout=0)
    scheduler = noise_scheduler(settings)
    objective = denoising_loss(settings, scheduler, NO_LABEL, (4, 2, 2))
    noise, _, dropped = map(torch.from_numpy, objective.draw(16, np.random.default_rng(0)))
    timesteps = torch.arange(100, 900, 50)
    a2 = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    a, s = a2.sqrt(), (1 - a2).sqrt()
    error = 0.1 * {"sample": torch.ones_like(a), "v_prediction": -1 / s, "epsilon": -a / s}[kind]
    model = KnowsTheTarget(kind, scheduler.alphas_cumprod, error)
    each = objective.losses(model, (LATENTS, LABELS), (noise, timesteps, dropped))
    expected = 0.01 * (a2 / (1 - a2)).clamp(max=5).flatten()
    assert each.tolist() == pytest.approx(expected.tolist(), rel=2e-3)


# --- flow matching ---


class KnowsTheLine(nn.Module):
    """Finds the noise of x_s = (1 - s) x + s e from the x that it knows, and answers e - x but for `error`."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        self.error = error
        self.times: list[float] = []
        self.labels: list[int] = []

    def forward(self, noisy: Tensor, times: Tensor, class_labels: Tensor) -> SimpleNamespace:
        self.times += times.tolist()
        self.labels += class_labels.tolist()
        s, x = times.double()[:, None, None, None] / 1000, LATENTS.double()
        return SimpleNamespace(sample=((noisy.double() - (1 - s) * x) / s - x).float() + self.error)


FLOW = Denoiser(prediction="flow")


def flow(dropout: float = 0.0, second=None) -> FlowMatchingLoss:
    return FlowMatchingLoss(noise_scheduler(FLOW), dropout, NO_LABEL, (4, 2, 2), second)


def test_the_loss_of_a_flow_is_the_mean_squared_error_of_the_line_s_direction():
    places = torch.linspace(0.2, 1, 16)
    for error in (0.0, 0.5):
        noise, _, dropped = map(torch.from_numpy, flow().draw(16, np.random.default_rng(0)))
        model = KnowsTheLine(error)
        each = flow().losses(model, (LATENTS, LABELS), (noise, places, dropped))
        assert each.tolist() == pytest.approx([error**2] * 16, abs=1e-4)
        assert model.times == pytest.approx((1000 * places).tolist())
        assert model.labels == LABELS.tolist()


def test_a_flow_draws_every_place_of_the_line_equally_often_and_drops_labels():
    noise, places, dropped = flow(dropout=0.25).draw(20_000, np.random.default_rng(0))
    assert (noise.dtype, places.dtype, dropped.dtype) == (np.float32, np.float32, np.bool_)
    assert np.histogram(places, 10, (0, 1))[0] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert dropped.mean() == pytest.approx(0.25, abs=0.02)
    model = KnowsTheLine()
    losses(flow(dropout=0.999), model, (LATENTS, LABELS))
    assert set(model.labels) == {NO_LABEL}


def test_settings_choose_the_loss():
    for settings, kind in ((FLOW, FlowMatchingLoss), (Denoiser(), DenoisingLoss)):
        assert isinstance(denoising_loss(settings, noise_scheduler(settings), NO_LABEL, (4, 2, 2)), kind)


# --- mirror images, and latents that are drawn ---


class SeesTheLatents(nn.Module):
    """Keeps what it was shown; `sample` prediction, so that the loss is the square of the latent."""

    def forward(self, noisy: Tensor, times: Tensor, class_labels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=torch.zeros_like(noisy))


def test_one_half_of_the_latents_are_shown_mirrored():
    scheduler = noise_scheduler(Denoiser(prediction="sample"))
    objective = DenoisingLoss(scheduler, 0.0, NO_LABEL, (1, 1, 1), "mirrored")
    one, two = torch.ones(2000, 1, 1, 1).half(), 2 * torch.ones(2000, 1, 1, 1).half()
    each = losses(objective, SeesTheLatents(), (one, torch.zeros(2000, dtype=torch.long), two))
    assert set(each.tolist()) == {1, 4}
    assert (each == 4).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_latents_are_drawn_from_their_distribution():
    scheduler = noise_scheduler(Denoiser(prediction="sample"))
    objective = DenoisingLoss(scheduler, 0.0, NO_LABEL, (1, 1, 1), "std")
    mean, std = torch.full((4000, 1, 1, 1), 3.0), torch.full((4000, 1, 1, 1), 2.0)
    each = losses(objective, SeesTheLatents(), (mean, torch.zeros(4000, dtype=torch.long), std))
    assert each.mean().item() == pytest.approx(3**2 + 2**2, rel=0.05)  # E z^2
    assert losses(objective, SeesTheLatents(), (mean, torch.zeros(4000, dtype=torch.long), 0 * std)).unique() == 9


@pytest.mark.parametrize(
    "make", [flow, lambda second: denoising_loss(Denoiser(), SCHEDULER, NO_LABEL, (4, 2, 2), second)]
)
@pytest.mark.parametrize("second", ["mirrored", "std"])
def test_a_second_tensor_changes_no_other_draw(make, second):
    plain, more = (
        objective.draw(9, np.random.default_rng(4)) for objective in (make(second=None), make(second=second))
    )
    assert len(more) == 4
    assert all(np.array_equal(one, other) for one, other in zip(plain, more[:3], strict=True))


SCHEDULER = noise_scheduler(Denoiser())


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
    each = losses(AutoencoderLoss(0.01, (4, 2, 2)), model, (IMAGES,))
    expected = kl_divergence(Normal(MEAN, STD), Normal(0.0, 1.0)).flatten(1).mean(1)
    assert each.tolist() == pytest.approx((0.01 * expected).tolist(), rel=1e-5)


def test_the_reconstruction_term_is_the_mean_squared_error():
    errors = torch.tensor([0.0, 0.5, 1.0, -1.0, 2.0])[:, None, None, None]
    model = Autoencoder(torch.zeros_like(MEAN), torch.ones_like(STD), to_input(IMAGES) + errors)
    each = losses(AutoencoderLoss(1.0, (4, 2, 2)), model, (IMAGES,))
    assert each.tolist() == pytest.approx([0, 0.25, 1, 1, 4], abs=1e-6)


def test_what_is_decoded_is_drawn_from_the_posterior():
    model = Autoencoder(MEAN, STD, to_input(IMAGES))
    for seed in range(2000):
        losses(AutoencoderLoss(0.0, (4, 2, 2)), model, (IMAGES,), seed)
    drawn = (torch.stack(model.decoded) - MEAN) / STD
    assert drawn.mean(0).abs().max() < 0.1
    assert (drawn.std(0) - 1).abs().max() < 0.1


def test_what_is_decoded_is_the_mean_and_the_drawn_number_of_deviations():
    model = Autoencoder(MEAN, STD, to_input(IMAGES))
    draws = torch.full((5, 4, 2, 2), -2.0)
    AutoencoderLoss(0.0, (4, 2, 2)).losses(model, (IMAGES,), (draws,))
    assert torch.equal(model.decoded[0], MEAN - 2 * STD)


@pytest.mark.parametrize(
    "objective",
    [AutoencoderLoss(1.0, (4, 2, 2)), DenoisingLoss(SCHEDULER, 0.1, NO_LABEL, (4, 2, 2), "std"), flow(0.1, "mirrored")],
    ids=["autoencoder", "denoiser", "flow"],
)
def test_draws_are_those_of_their_generator_and_their_first_axis_is_the_batch(objective):
    first, again = (objective.draw(7, np.random.default_rng(4)) for _ in range(2))
    assert [len(array) for array in first] == [7] * len(first)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], objective.draw(7, np.random.default_rng(5))[0])
