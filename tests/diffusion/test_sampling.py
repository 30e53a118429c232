"""The sampler against ten lines of DDIM, and the independence of an image from its batch."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsyn.config import Denoiser
from fedsyn.diffusion.sampling import FLOW_SAMPLERS, SAMPLERS, sample_latents
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize

SETTINGS = Denoiser(channels=(8, 16))
NOISE = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 2, 8, 8), np.float32))
LABELS = torch.tensor([0, 1, 2, 1, 0])


@pytest.fixture(scope="module")
def unet():
    model = build_denoiser(SETTINGS, latent_channels=2, latent_size=8, num_classes=3)
    initialize(model, 0, "denoiser")
    return model.eval()


def sample(model: nn.Module, rows: slice = slice(None), settings: Denoiser = SETTINGS, **options) -> Tensor:
    options = {"sampler": "dpm-solver++", "steps": 5, "guidance_scale": 1.5} | options
    return sample_latents(model, published_schedule(settings), NOISE[rows], LABELS[rows], **options)


def published_schedule(settings: Denoiser) -> dict:
    """The schedule as the synthesis stage reads it: from the file that the denoiser stage writes."""
    return json.loads(noise_scheduler(settings).to_json_string())


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_latent_does_not_depend_on_the_batch_it_is_drawn_in(unet, sampler):
    together = sample(unet, sampler=sampler)
    alone = torch.cat([sample(unet, slice(row, row + 1), sampler=sampler) for row in range(5)])
    assert torch.isfinite(together).all()
    assert (together - alone).abs().max() < 1e-4
    assert (together[0] - together[4]).abs().max() > 1e-2


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_sampling_draws_nothing_at_random(unet, sampler):
    torch.manual_seed(1)
    once = sample(unet, sampler=sampler)
    torch.manual_seed(2)
    assert torch.equal(once, sample(unet, sampler=sampler))


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_guidance_of_one_is_the_conditional_model(unet, sampler):
    conditional = sample(unet, sampler=sampler, guidance_scale=1)
    nearly = sample(unet, sampler=sampler, guidance_scale=1 + 1e-6)  # takes the way through both predictions
    assert (conditional - nearly).abs().max() < 1e-4
    assert (conditional - sample(unet, sampler=sampler, guidance_scale=3.0)).abs().max() > 1e-3


class Linear(nn.Module):
    """Predicts 0.3 x + 0.1 t/T + the label: all that a sampler can get wrong shows."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_class_embeds=4)
        self.seen_labels: set[int] = set()

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> SimpleNamespace:
        self.seen_labels |= set(class_labels.tolist())
        shift = 0.1 * (timestep / 1000) + 0.05 * class_labels
        return SimpleNamespace(sample=0.3 * x + shift.reshape(-1, 1, 1, 1))


def naive_ddim(kind: str, steps: int, w: float) -> Tensor:
    alphas_cumprod, x, model = noise_scheduler(SETTINGS).alphas_cumprod.double(), NOISE.double(), Linear()
    times = [i * (1000 // steps) for i in range(steps)][::-1]  # leading
    if kind != "epsilon":
        times = [t + 1000 // steps - 1 for t in times]  # trailing: 999 first
    for t, previous in zip(times, [*times[1:], None], strict=True):
        conditional = model(x, torch.tensor(t), LABELS).sample
        unconditional = model(x, torch.tensor(t), torch.full_like(LABELS, 3)).sample
        prediction = unconditional + w * (conditional - unconditional)
        a, s = alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t]).sqrt()
        x0 = {
            "v_prediction": a * x - s * prediction,
            "epsilon": (x - s * prediction) / a,
            "sample": prediction,
        }[kind]
        noise = (x - a * x0) / s
        end = alphas_cumprod[previous] if previous is not None else torch.tensor(1.0)
        x = end.sqrt() * x0 + (1 - end).sqrt() * noise
    return x


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_ddim_agrees_with_its_formula(kind, guidance_scale):
    settings = SETTINGS.model_copy(update={"prediction": kind})
    fast = sample(Linear(), settings=settings, sampler="ddim", steps=4, guidance_scale=guidance_scale)
    assert (fast - naive_ddim(kind, 4, guidance_scale)).abs().max() < 1e-4


def test_the_label_that_means_none_is_the_last_one_and_is_seen_under_guidance_only():
    model = Linear()
    sample(model, guidance_scale=1)
    assert model.seen_labels == {0, 1, 2}
    sample(model, guidance_scale=2.0)
    assert model.seen_labels == {0, 1, 2, 3}


class Gaussian(nn.Module):
    """The exact velocity, E[a e - s x0 | x], of latents that are normal with mean 1.5 and standard deviation 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_class_embeds=4)
        self.alphas_cumprod = noise_scheduler(SETTINGS).alphas_cumprod.double()

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> SimpleNamespace:
        a2 = self.alphas_cumprod[int(timestep)]
        a, s, variance = a2.sqrt(), (1 - a2).sqrt(), 0.25
        x0 = 1.5 + a * variance / (a2 * variance + 1 - a2) * (x - a * 1.5)
        return SimpleNamespace(sample=a * (x - a * x0) / s - s * x0)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_samples_have_the_mean_and_spread_of_the_data(sampler):
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((4000, 1, 2, 2)))
    labels = torch.zeros(4000, dtype=torch.long)
    options = {"sampler": sampler, "steps": 50, "guidance_scale": 1.0}
    drawn = sample_latents(Gaussian(), published_schedule(SETTINGS), noise, labels, **options)
    assert float(drawn.mean()) == pytest.approx(1.5, abs=0.015)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_noise_arrives_at_the_latent_that_the_equation_says(sampler):
    """Normal data: the probability flow stretches noise to the data's spread and shifts it to their mean."""
    drawn = sample(Gaussian(), sampler=sampler, steps=100, guidance_scale=1)
    assert drawn == pytest.approx(1.5 + 0.5 * NOISE, abs=0.03)


class Ideal(nn.Module):
    """The velocity of data that are all the same latent: every sampler must arrive there."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_class_embeds=4)
        self.target, self.alphas_cumprod = target, noise_scheduler(SETTINGS).alphas_cumprod

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> SimpleNamespace:
        a, s = self.alphas_cumprod[int(timestep)].sqrt(), (1 - self.alphas_cumprod[int(timestep)]).sqrt()
        noise = (x - a * self.target) / s
        return SimpleNamespace(sample=a * noise - s * self.target)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_arrives_at_the_only_latent_there_is(sampler):
    latents = sample(Ideal(0.7), sampler=sampler, steps=10, guidance_scale=1)
    assert latents == pytest.approx(torch.full_like(latents, 0.7), abs=1e-3)


# --- guidance on a part of the course ---


class Counting(Linear):
    """Knows how many latents it was asked for at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[float, int]] = []

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> SimpleNamespace:
        self.asked.append((float(timestep), len(x)))
        return super().forward(x, timestep, class_labels)


@pytest.mark.parametrize(
    ("interval", "twice"),
    [((0.0, 1.0), [999, 799, 599, 399, 199]), ((0.3, 0.7), [599, 399]), ((0.599, 0.6), [599]), ((0.0, 0.1), [])],
)
def test_outside_its_interval_guidance_asks_the_model_once(interval, twice):
    model = Counting()
    sample(model, sampler="ddim", guidance_scale=2.0, guidance_interval=interval)
    assert [time for time, _ in model.asked] == [999, 799, 599, 399, 199]
    assert [time for time, count in model.asked if count == 10] == twice
    assert all(count == 5 for time, count in model.asked if time not in twice)


def test_guidance_that_never_acts_is_the_conditional_model_and_one_that_always_does_is_the_default():
    never = sample(Linear(), guidance_scale=3.0, guidance_interval=(0.0, 0.1))
    assert torch.equal(never, sample(Linear(), guidance_scale=1))
    always = sample(Linear(), guidance_scale=3.0, guidance_interval=(0.0, 1.0))
    assert torch.equal(always, sample(Linear(), guidance_scale=3.0))
    assert (always - never).abs().max() > 1e-3


# --- flow matching ---

FLOW = SETTINGS.model_copy(update={"prediction": "flow"})


class GaussianFlow(nn.Module):
    """The exact direction, E[e - x0 | x], of latents that are normal with mean 1.5 and standard deviation 0.5."""

    def __init__(self, timesteps: int = 1000) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_class_embeds=4)
        self.timesteps = timesteps

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> SimpleNamespace:
        s = float(timestep) / self.timesteps
        centred = (x - (1 - s) * 1.5) / ((1 - s) ** 2 * 0.25 + s**2)
        return SimpleNamespace(sample=s * centred - 1.5 - 0.25 * (1 - s) * centred)


@pytest.mark.parametrize(
    ("sampler", "steps", "within"), [("euler", 200, 0.03), ("dpm-solver++", 40, 0.01), ("unipc", 20, 0.02)]
)
def test_every_noise_flows_to_the_latent_that_the_equation_says(sampler, steps, within):
    drawn = sample(GaussianFlow(), settings=FLOW, sampler=sampler, steps=steps, guidance_scale=1)
    assert drawn == pytest.approx(1.5 + 0.5 * NOISE, abs=within)


@pytest.mark.parametrize("sampler", list(FLOW_SAMPLERS))
def test_a_flow_of_few_time_steps_begins_at_pure_noise_and_knows_its_time_to_the_fraction(sampler):
    settings = FLOW.model_copy(update={"timesteps": 10})
    coarse = sample(GaussianFlow(10), settings=settings, sampler=sampler, steps=10, guidance_scale=1)
    fine = sample(GaussianFlow(), settings=FLOW, sampler=sampler, steps=10, guidance_scale=1)
    assert (coarse - fine).abs().max() < 1e-4


def test_one_step_of_euler_goes_to_the_mean_and_two_steps_half_way_first():
    once = sample(GaussianFlow(), settings=FLOW, sampler="euler", steps=1, guidance_scale=1)
    assert once == pytest.approx(torch.full_like(once, 1.5), abs=1e-5)  # at s = 1 nothing else is known
    # x = (z + 1.5) / 2 at s = 1/2, where the variance is 1/16 + 1/4: e - x0 is 3/8 of 16/5 (x - 3/4), less 1.5
    twice = sample(GaussianFlow(), settings=FLOW, sampler="euler", steps=2, guidance_scale=1)
    half = (NOISE + 1.5) / 2
    assert twice == pytest.approx(half - 0.5 * (1.2 * (half - 0.75) - 1.5), abs=1e-5)


def naive_euler(steps: int, w: float) -> Tensor:
    x, model = NOISE.double(), Linear()
    for i in range(steps):
        s = 1 - i / steps
        conditional = model(x, torch.tensor(1000 * s), LABELS).sample
        unconditional = model(x, torch.tensor(1000 * s), torch.full_like(LABELS, 3)).sample
        x = x - (unconditional + w * (conditional - unconditional)) / steps
    return x


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_euler_agrees_with_its_formula(guidance_scale):
    fast = sample(Linear(), settings=FLOW, sampler="euler", steps=4, guidance_scale=guidance_scale)
    assert (fast - naive_euler(4, guidance_scale)).abs().max() < 1e-5


@pytest.mark.parametrize("sampler", list(FLOW_SAMPLERS))
def test_a_flowing_latent_does_not_depend_on_the_batch_it_is_drawn_in(unet, sampler):
    together = sample(unet, settings=FLOW, sampler=sampler)
    alone = torch.cat([sample(unet, slice(row, row + 1), FLOW, sampler=sampler) for row in range(5)])
    assert torch.isfinite(together).all()
    assert (together - alone).abs().max() < 1e-4


@pytest.mark.parametrize(("settings", "sampler"), [(FLOW, "ddim"), (SETTINGS, "euler")])
def test_a_sampler_of_the_other_kind_is_refused_with_those_that_fit(settings, sampler):
    with pytest.raises(ValueError, match=rf"synthesis\.sampler must be one of .*dpm-solver.*, got '{sampler}'"):
        sample(Linear(), settings=settings, sampler=sampler)
