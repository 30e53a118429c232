"""A model as one vector: nothing lost on the way there and back, and the network notices nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsyn.config import Autoencoder, Classifier, Denoiser
from fedsyn.federated.flat import FlatModel, Layout, batch_norms, flattened
from fedsyn.models.autoencoder import build_autoencoder
from fedsyn.models.classifier import build_classifier
from fedsyn.models.denoiser import build_denoiser
from fedsyn.models.initialize import initialize

BATCH_NORM = Classifier(width=8, normalization="batch")
MODELS = {
    "cnn": lambda: build_classifier(Classifier(width=8), 1, 8, 8, 3),
    "batch norm": lambda: build_classifier(BATCH_NORM, 1, 8, 8, 3),
    "resnet18": lambda: build_classifier(Classifier(architecture="resnet18"), 3, 8, 8, 3),
    "autoencoder": lambda: build_autoencoder(Autoencoder(channels=(8, 16)), 1, 8, 8),
    "denoiser": lambda: build_denoiser(Denoiser(channels=(8, 16)), 3, 4, 5),
}
INPUTS = {
    "cnn": (1, 8, 8),
    "batch norm": (1, 8, 8),
    "resnet18": (3, 8, 8),
    "autoencoder": (1, 8, 8),
    "denoiser": (3, 4, 4),
}


def build(name: str) -> nn.Module:
    model = MODELS[name]()
    initialize(model, 0, name)
    return model


def answer(name: str, model: nn.Module) -> Tensor:
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, *INPUTS[name])).astype(np.float32))
    with torch.no_grad():
        if name == "autoencoder":
            return model.decode(model.encode(x)[0])
        if name == "denoiser":
            return model(x, torch.tensor([3, 900]), class_labels=torch.tensor([0, 5])).sample
        return model(x)


def strides(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: parameter.stride() for name, parameter in model.named_parameters()}


# --- the layout ---


def tensors() -> list[tuple[str, Tensor]]:
    """One of each kind, all elements different."""
    last = torch.channels_last
    shaped = {
        "channels last": torch.empty(4, 3, 2, 5).to(memory_format=last),
        "one channel": torch.empty(4, 1, 3, 3).to(memory_format=last),
        "one filter": torch.empty(1, 3, 3, 3).to(memory_format=last),
        "1 x 1": torch.empty(4, 3, 1, 1).to(memory_format=last),
        "channels first": torch.empty(4, 3, 2, 5),
        "linear": torch.empty(3, 7),
        "transposed": torch.empty(7, 3).T,
        "bias": torch.empty(3),
        "scalar": torch.empty(()),
    }
    start = 0
    for tensor in shaped.values():
        tensor.copy_(torch.arange(start, start + tensor.numel()).view(tensor.shape))
        start += tensor.numel()
    return list(shaped.items())


def test_flattening_and_back_loses_neither_an_element_nor_its_place():
    named = tensors()
    layout = Layout.of(named)
    vector = layout.flatten([tensor for _, tensor in named])
    assert sorted(vector.tolist()) == list(range(sum(layout.sizes)))
    views = layout.unflatten(vector)
    assert list(views) == [name for name, _ in named]
    for name, tensor in named:
        assert views[name].shape == tensor.shape
        assert torch.equal(views[name], tensor), name


def test_a_tensor_lies_in_the_vector_as_it_lay_in_memory():
    for name, tensor in tensors():
        vector = Layout.of([(name, tensor)]).flatten([tensor])
        assert vector.tolist() == tensor.as_strided((tensor.numel(),), (1,)).tolist(), name


def test_channels_last_by_hand():
    pixels = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]).to(memory_format=torch.channels_last)  # (1, 2, 1, 2)
    layout = Layout.of([("pixels", pixels)])
    assert layout.flatten([pixels]).tolist() == [1, 3, 2, 4]
    assert layout.unflatten(torch.tensor([1.0, 3.0, 2.0, 4.0]))["pixels"].tolist() == pixels.tolist()


def test_bound_views_have_the_very_strides_of_the_tensors():
    named = tensors()
    layout = Layout.of(named)
    bound = layout.bind(layout.flatten([tensor for _, tensor in named]))
    for (name, tensor), view in zip(named, bound, strict=True):
        assert (view.stride(), view.shape) == (tensor.stride(), tensor.shape), name
        assert torch.equal(view, tensor), name


@pytest.mark.parametrize("views_of", [Layout.bind, lambda layout, vector: list(layout.unflatten(vector).values())])
def test_views_share_the_vectors_memory_and_cover_it_once(views_of):
    layout = Layout.of(tensors())
    vector = torch.zeros(sum(layout.sizes))
    for view in views_of(layout, vector):
        view.add_(1)
    assert vector.tolist() == [1] * len(vector)


def test_a_row_of_a_matrix_is_bound_where_it_lies():
    layout = Layout.of([("a", torch.zeros(2)), ("b", torch.zeros(()))])
    matrix = torch.arange(6.0).view(2, 3)
    assert [view.tolist() for view in layout.bind(matrix[1])] == [[3, 4], 5]


# --- the model ---


@pytest.mark.parametrize("name", MODELS)
def test_a_bound_model_answers_to_the_bit_as_before(name):
    model = build(name)
    expected = answer(name, copy.deepcopy(model))
    with flattened(model) as flat:
        assert len(flat.weights) == sum(parameter.numel() for parameter in model.parameters())
        assert torch.equal(answer(name, model), expected)


@pytest.mark.parametrize("name", MODELS)
def test_writing_another_models_vector_makes_it_that_model(name):
    model, other = build(name), build(name)
    initialize(other, 1, name)
    expected = answer(name, copy.deepcopy(other))
    with flattened(model) as flat, flattened(other) as others:
        assert not torch.equal(answer(name, copy.deepcopy(model)), expected)
        flat.weights.copy_(others.weights)
        assert torch.equal(answer(name, copy.deepcopy(model)), expected)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_of_an_optimiser_is_a_step_of_the_vector(fused):
    model = build("cnn")
    with flattened(model) as flat:
        before = flat.weights.clone()
        model(torch.ones(2, 1, 8, 8)).sum().backward()
        gradient = flat.layout.flatten([parameter.grad for parameter in model.parameters()])
        torch.optim.SGD(model.parameters(), lr=0.5, fused=fused).step()
        assert gradient.abs().max() > 0
        assert torch.allclose(flat.weights, before - 0.5 * gradient)


@pytest.mark.parametrize("name", MODELS)
def test_the_memory_format_is_kept_bound_and_released(name):
    model = build(name)
    before = strides(model)
    with flattened(model):
        assert strides(model) == before
    assert strides(model) == before


@pytest.mark.parametrize("name", MODELS)
def test_a_released_model_has_memory_of_its_own_and_the_vectors_values(name):
    model = build(name)
    with flattened(model) as flat:
        flat.weights.mul_(0.5)
        expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flat.weights.fill_(99.0)
    flat.statistics.fill_(99.0)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    storages = [parameter.untyped_storage() for parameter in model.parameters()]
    assert len({storage.data_ptr() for storage in storages}) == len(storages)
    assert [storage.nbytes() for storage in storages] == [4 * parameter.numel() for parameter in model.parameters()]


def test_a_model_is_released_after_an_error_too():
    model = build("cnn")
    with pytest.raises(RuntimeError, match="in the middle"), flattened(model) as flat:
        raise RuntimeError("in the middle")
    flat.weights.fill_(99.0)
    assert not any((parameter == 99).any() for parameter in model.parameters())


# --- statistics of BatchNorm ---


def test_running_statistics_are_the_second_vector():
    model = build("batch norm")
    with flattened(model) as flat:
        assert len(batch_norms(flat.model)) == 2
        assert flat.statistics.tolist() == [0] * 8 + [1] * 8 + [0] * 16 + [1] * 16  # mean, variance; norm1, norm2
        answer("batch norm", model)  # in training mode: the statistics move
        expected = (
            model.norm1.running_mean,
            model.norm1.running_var,
            model.norm2.running_mean,
            model.norm2.running_var,
        )
        assert model.norm1.running_mean.abs().max() > 0
        assert torch.equal(flat.statistics, torch.cat(expected))
        flat.statistics.fill_(2.0)
        assert model.norm2.running_var.tolist() == [2] * 16
    assert model.norm2.running_var.tolist() == [2] * 16
    assert model.norm2.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("settings", "has_batch_norm"),
    [(Classifier(width=8), False), (BATCH_NORM.model_copy(update={"batch_statistics": "local"}), True)],
)
def test_without_running_statistics_the_second_vector_is_empty(settings, has_batch_norm):
    flat = FlatModel(build_classifier(settings, 1, 8, 8, 3))
    assert flat.statistics.shape == (0,)
    assert bool(batch_norms(flat.model)) is has_batch_norm
    flat.release()
