"""The networks: shapes, memory format, and weights that come from named draws only."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from fedsyn.config import Autoencoder, Classifier, Denoiser
from fedsyn.models.autoencoder import LatentAutoencoder, build_autoencoder, padded_size
from fedsyn.models.classifier import SmallCNN, build_classifier
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize

SMALL = Autoencoder(channels=(8, 16), latent_channels=3)


def pictures(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))


def every_model() -> dict[str, nn.Module]:
    return {
        "cnn": build_classifier(Classifier(width=8), 1, 8, 8, 10),
        "resnet18": build_classifier(Classifier(architecture="resnet18"), 3, 32, 32, 10),
        "autoencoder": build_autoencoder(SMALL, 1, 8, 8),
        "denoiser": build_denoiser(Denoiser(channels=(8, 16)), 3, 4, 10),
    }


# --- classifiers ---


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_the_cnn_gives_a_logit_for_each_class(channels, size):
    model = build_classifier(Classifier(width=8), channels, size, size, 7)
    assert model(pictures(5, channels, size, size)).shape == (5, 7)


def test_the_cnn_takes_images_that_are_not_square_or_not_even():
    assert build_classifier(Classifier(width=8), 1, 10, 13, 2)(pictures(3, 1, 10, 13)).shape == (3, 2)


def test_the_resnet_gives_a_logit_for_each_class_and_keeps_small_images_large():
    model = build_classifier(Classifier(architecture="resnet18"), 3, 32, 32, 7)
    assert model(pictures(2, 3, 32, 32)).shape == (2, 7)
    assert model.layer1(model.maxpool(model.conv1(pictures(1, 3, 32, 32)))).shape == (1, 64, 32, 32)


def test_the_resnet_is_torchvisions_and_its_features_are_what_its_last_layer_reads():
    model = build_classifier(Classifier(architecture="resnet18", normalization="batch"), 3, 16, 16, 7).eval()
    twin = resnet18(num_classes=7)
    twin.conv1, twin.maxpool = model.conv1, nn.Identity()
    twin.load_state_dict(model.state_dict())
    images = pictures(2, 3, 16, 16)
    assert torch.equal(model(images), twin.eval()(images))
    twin.fc = nn.Identity()
    assert torch.equal(model.features(images), twin(images))


def test_pooling_before_relu_is_relu_before_pooling():
    model = SmallCNN(1, 8, 8, 4, 8, lambda width: nn.GroupNorm(8, width))
    x = images = pictures(6, 1, 8, 8)
    x = F.max_pool2d(F.relu(model.norm1(model.conv1(x))), 2)
    x = F.max_pool2d(F.relu(model.norm2(model.conv2(x))), 2)
    assert torch.equal(model.head(F.relu(model.hidden(x.flatten(1)))), model(images))


@pytest.mark.parametrize("name", ["cnn", "resnet18", "autoencoder", "denoiser"])
def test_no_model_keeps_statistics_of_batches_unless_asked(name):
    model = every_model()[name]
    assert not [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [buffer for buffer, _ in model.named_buffers()] == []


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name):
    model = every_model()[name]
    images = pictures(4, 1, 8, 8) if name == "cnn" else pictures(4, 3, 32, 32)
    assert torch.allclose(model(images)[1:2], model(images[1:2]), atol=1e-5)


BATCH_NORM = Classifier(width=8, normalization="batch")


@pytest.mark.parametrize(("architecture", "number"), [("cnn", 2), ("resnet18", 20)])
@pytest.mark.parametrize("statistics", ["aggregate", "recompute", "local"])
def test_batch_normalisation_takes_the_place_of_every_group_normalisation(architecture, number, statistics):
    settings = BATCH_NORM.model_copy(update={"architecture": architecture, "batch_statistics": statistics})
    modules = list(build_classifier(settings, 1, 8, 8, 3).modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == number
    assert not [module for module in modules if isinstance(module, nn.GroupNorm)]
    assert {norm.running_mean is None for norm in norms} == {statistics == "local"}


def test_local_statistics_are_kept_nowhere():
    model = build_classifier(BATCH_NORM.model_copy(update={"batch_statistics": "local"}), 1, 8, 8, 3)
    assert dict(model.named_buffers()) == {}
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_a_prediction_with_local_statistics_uses_those_of_its_own_images_and_one_with_kept_ones_does_not():
    images = pictures(6, 1, 8, 8)
    for statistics, differs in (("local", True), ("aggregate", False)):
        model = build_classifier(BATCH_NORM.model_copy(update={"batch_statistics": statistics}), 1, 8, 8, 3)
        initialize(model, 0, "classifier")
        model.eval()
        alone, together = model(images[:2]), model(images)[:2]
        assert torch.allclose(alone, together, atol=1e-5) != differs


def test_batch_normalisation_begins_as_the_identity():
    model = build_classifier(BATCH_NORM, 1, 8, 8, 3)
    initialize(model, 0, "classifier")
    features = pictures(2, 8, 4, 4)
    assert torch.allclose(model.norm1.eval()(features), features, atol=1e-4)


# --- autoencoder ---


@pytest.mark.parametrize(
    ("size", "unshuffle", "padded", "latent"),
    [(8, 2, 16, 4), (28, 2, 32, 8), (32, 2, 32, 8), (32, 1, 32, 16), (28, 4, 32, 4)],
)
def test_images_are_padded_to_what_the_networks_can_halve_and_cropped_again(size, unshuffle, padded, latent):
    settings = SMALL.model_copy(update={"unshuffle": unshuffle})
    model = build_autoencoder(settings, 1, size, size)
    assert padded_size(size, size, settings) == model.padded == padded
    mean, std = model.encode(pictures(2, 1, size, size))
    assert mean.shape == std.shape == (2, 3, latent, latent)
    assert (std > 0).all()
    assert model.decode(mean).shape == (2, 1, size, size)


def test_images_of_colour_that_are_not_square_come_back_in_their_shape():
    model = build_autoencoder(SMALL, 3, 20, 12)
    assert model.padded == 32
    assert model.decode(model.encode(pictures(2, 3, 20, 12))[0]).shape == (2, 3, 20, 12)


class Transparent(nn.Module):
    """In the place of diffusers' autoencoder: its latent is what it is given."""

    def encode(self, x: Tensor):
        self.given = x
        return type("Encoded", (), {"latent_dist": type("Posterior", (), {"mean": x, "std": torch.ones_like(x)})})

    def decode(self, latents: Tensor):
        return type("Decoded", (), {"sample": latents})


@pytest.mark.parametrize("unshuffle", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 1, 28, 28), (2, 3, 32, 32), (2, 3, 11, 6)])
def test_padding_packing_unpacking_and_cropping_lose_no_pixel(shape, unshuffle):
    _, channels, height, width = shape
    padded = padded_size(height, width, SMALL.model_copy(update={"unshuffle": unshuffle}))
    model = LatentAutoencoder(Transparent(), height, width, padded, unshuffle)
    images = pictures(*shape)
    packed = model.encode(images)[0]
    assert packed.shape == (2, channels * unshuffle**2, padded // unshuffle, padded // unshuffle)
    assert torch.equal(model.decode(packed), images)
    assert (packed == -1).sum() >= packed.numel() - images.numel()  # around the image it is black


# --- denoiser ---


@pytest.mark.parametrize(("channels", "attention"), [((8,), True), ((8, 16), False), ((8, 16, 16), True)])
def test_the_denoiser_answers_in_the_shape_of_its_latents(channels, attention):
    model = build_denoiser(Denoiser(channels=channels, attention=attention), 3, 4, 10)
    labels = torch.tensor([0, 10])  # the last one says: no label
    assert model(pictures(2, 3, 4, 4), torch.tensor([0, 999]), class_labels=labels).sample.shape == (
        2,
        3,
        4,
        4,
    )


def test_the_denoiser_sees_its_label_and_its_time():
    model = build_denoiser(Denoiser(channels=(8, 16)), 3, 4, 10)
    initialize(model, 0, "denoiser")
    x = pictures(1, 3, 4, 4)

    def answer(time: int, label: int) -> Tensor:
        return model(x, torch.tensor([time]), class_labels=torch.tensor([label])).sample

    assert (answer(5, 1) - answer(5, 2)).abs().max() > 1e-3
    assert (answer(5, 1) - answer(500, 1)).abs().max() > 1e-3


@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear"])
def test_the_noise_schedule_goes_from_image_to_noise(schedule):
    scheduler = noise_scheduler(Denoiser(noise_schedule=schedule))
    signal = scheduler.alphas_cumprod
    assert len(signal) == 1000
    assert (signal.diff() < 0).all()
    assert signal[0] > 0.99
    assert signal[-1] < 1e-3
    assert scheduler.config.prediction_type == "v_prediction"


# --- memory format and initialisation ---


@pytest.mark.parametrize("name", ["cnn", "resnet18", "autoencoder", "denoiser"])
def test_weights_of_convolutions_are_channels_last(name):
    weights = [module.weight for module in every_model()[name].modules() if isinstance(module, nn.Conv2d)]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize("name", ["cnn", "resnet18", "autoencoder", "denoiser"])
def test_every_weight_is_drawn_anew_whatever_the_global_random_state(name):
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        model = every_model()[name]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        before = torch.get_rng_state()
        initialize(model, 0, name)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.isfinite(results[0]).all()
    assert torch.equal(*results)


def test_another_seed_or_stage_gives_other_weights_and_another_module_too():
    def weights(seed: int, stage: str) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        initialize(model, seed, stage)
        return [layer.weight.detach().clone() for layer in model]

    first, second = weights(0, "a")
    assert not torch.equal(first, second)
    assert not torch.equal(first, weights(1, "a")[0])
    assert not torch.equal(first, weights(0, "b")[0])


def test_distributions_are_those_of_pytorch():
    def spread(model: nn.Module) -> list[float]:
        return [parameter.std().item() for parameter in model.parameters()]

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 300), nn.Conv2d(30, 60, 3), nn.GroupNorm(2, 8), nn.Embedding(100, 100))
    expected = spread(model)
    initialize(model, 0, "classifier")
    assert spread(model) == pytest.approx(expected, rel=0.2)
    assert model[0].weight.abs().max() <= 200**-0.5
    assert model[1].bias.abs().max() <= (30 * 9) ** -0.5
    assert model[2].weight.tolist() == [1.0] * 8
    assert model[2].bias.tolist() == [0.0] * 8


def test_a_module_whose_initialisation_is_unknown_is_refused_by_name():
    with pytest.raises(TypeError, match=r"PReLU \(module '1'\)"):
        initialize(nn.Sequential(nn.Linear(2, 2), nn.PReLU()), 0, "classifier")
