"""Every engine against a naive twin and against each other, and who is picked by `auto`."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedsyn.config import Autoencoder, Denoiser, Execution, FederatedTraining
from fedsyn.diffusion.objectives import AutoencoderLoss, DenoisingLoss, FlowMatchingLoss, denoising_loss
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.client import Client, Training, group_by_client
from fedsyn.federated.engines.choice import choose, num_workers, worker_devices
from fedsyn.federated.flat import FlatModel
from fedsyn.federated.training import federated_training
from fedsyn.models.autoencoder import build_autoencoder
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize
from fedsyn.randomness import generator
from tests import handmade
from tests.federated.problems import (
    PLAIN,
    DoubleCrossEntropy,
    double_problem,
    small_problem,
    train,
    weights_after,
)

# --- the naive twin: a copy of the model for each client, plain loops, plain optimisers ---


def naive_federated_averaging(model: nn.Module, clients: list[Client], chosen: FederatedTraining) -> nn.Module:
    for r in range(chosen.rounds):
        order = generator(3, "naive", "cohort", round_index=r).permutation(len(clients))
        cohort = [clients[k] for k in sorted(order[: math.ceil(chosen.client_fraction * len(clients))])]
        rate = chosen.learning_rate * (1 + math.cos(math.pi * r / chosen.rounds)) / 2
        trained = []
        for client in cohort:
            local = copy.deepcopy(model)
            rng = generator(3, "naive", "batches", round_index=r, client_id=client.client_id)
            if chosen.optimizer == "sgd":
                optimizer = torch.optim.SGD(
                    local.parameters(), rate, chosen.momentum, weight_decay=chosen.weight_decay, foreach=False
                )
            else:
                betas = (chosen.momentum, 0.999)
                optimizer = torch.optim.AdamW(
                    local.parameters(), rate, betas, weight_decay=chosen.weight_decay, foreach=False
                )
            for _ in range(chosen.local_epochs):
                order = rng.permutation(len(client.indices))
                for start in range(0, len(order), chosen.batch_size):
                    rows = client.indices[order[start : start + chosen.batch_size]]
                    images, labels = client.tensors[0][rows], client.tensors[1][rows]
                    optimizer.zero_grad()
                    F.cross_entropy(local(images), labels).backward()
                    optimizer.step()
            trained.append(local)
        total = sum(len(client.indices) for client in cohort)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                terms = zip(cohort, trained, strict=True)
                parameter.copy_(sum(len(c.indices) / total * local.get_parameter(name) for c, local in terms))
    return model


OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 1e-2},
}


@pytest.mark.parametrize("engine", ["sequential", "processes", "vectorized"])
@pytest.mark.parametrize("client_fraction", [1.0, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_engine_agrees_with_the_naive_twin(optimizer, client_fraction, engine):
    # In double precision: AdamW divides by a gradient's size, and so makes steps of rounding errors.
    chosen = FederatedTraining(
        rounds=3, local_epochs=2, batch_size=8, client_fraction=client_fraction, **OPTIMIZERS[optimizer]
    )
    model, clients = double_problem()
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    slow = naive_federated_averaging(copy.deepcopy(model), clients, chosen)
    weights_after(model, clients, DoubleCrossEntropy(), chosen, engine, workers=2, clients_per_group=2)
    fast, expected = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model, slow))
    assert (fast - expected).abs().max() < 1e-9
    assert (fast - start).abs().max() > 1e-3


ALGORITHMS = [
    {"server": {"algorithm": "fedavg"}},
    {"server": {"algorithm": "fedadam"}, "gradient_clip": 0.5},
    {"server": {"algorithm": "fedprox", "proximal_weight": 0.5}, "straggler_rate": 0.5},
    {"server": {"algorithm": "scaffold"}, "momentum": 0.0},
    {"server": {"algorithm": "fednova"}, "dropout_rate": 0.3},
    {"server": {"algorithm": "trimmed_mean", "trimmed_share": 0.3}, "client_sampling": "by_size"},
    {"privacy": {"clip_norm": 0.01, "noise_multiplier": 0.1}},
]


@pytest.mark.parametrize("changes", ALGORITHMS, ids=lambda changes: "-".join(changes))
def test_processes_are_bit_equal_to_the_loop_and_stacking_agrees(changes):
    chosen = FederatedTraining(rounds=3, local_epochs=2, batch_size=8, **changes)
    results = {}
    for engine in ("sequential", "processes", "vectorized"):
        model, clients = double_problem()
        options = {"workers": 2, "clients_per_group": 3}
        results[engine] = weights_after(model, clients, DoubleCrossEntropy(), chosen, engine, **options)
    assert torch.equal(results["sequential"], results["processes"])
    assert (results["sequential"] - results["vectorized"]).abs().max() < 1e-9


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_does_not_show(workers):
    chosen = FederatedTraining(rounds=2, batch_size=8, learning_rate=0.05)
    results = []
    for engine in ("sequential", "processes"):
        model, clients = small_problem(num_clients=7)
        objective = CrossEntropy("shift-flip", 8)
        results.append(weights_after(model, clients, objective, chosen, engine, workers=workers))
    assert torch.equal(*results)


def test_class_balanced_batches_are_the_same_on_every_engine():
    chosen = FederatedTraining(rounds=2, batch_size=8, local_epochs=2)
    results = {}
    for engine, balanced in (("sequential", True), ("processes", True), ("vectorized", True), ("plain", False)):
        model, clients = double_problem()
        execution = Execution(engine="sequential" if engine == "plain" else engine, workers=2, clients_per_group=3)
        results[engine] = federated_training(
            model,
            clients,
            DoubleCrossEntropy(),
            chosen,
            seed=3,
            stage="a",
            execution=execution,
            class_balanced=balanced,
        ).weights.clone()
    assert torch.equal(results["sequential"], results["processes"])
    assert (results["sequential"] - results["vectorized"]).abs().max() < 1e-9
    assert (results["sequential"] - results["plain"]).abs().max() > 1e-4


@pytest.mark.parametrize("group", [1, 2, 3, 5, 32])
def test_the_size_of_a_group_does_not_matter(group):
    chosen = FederatedTraining(rounds=2, batch_size=8, local_epochs=2)
    results = []
    for engine in ("sequential", "vectorized"):
        model, clients = double_problem(num_clients=7)
        results.append(weights_after(model, clients, DoubleCrossEntropy(), chosen, engine, clients_per_group=group))
    assert (results[0] - results[1]).abs().max() < 1e-9


def test_a_stacked_step_that_is_compiled_agrees():
    chosen = FederatedTraining(rounds=1, batch_size=8)
    results = []
    for compiled in (False, True):
        model, clients = double_problem(num_clients=3)
        options = {"clients_per_group": 3, "compile": compiled}
        results.append(weights_after(model, clients, DoubleCrossEntropy(), chosen, "vectorized", **options))
    assert (results[0] - results[1]).abs().max() < 1e-9


def test_a_loss_that_is_compiled_agrees():
    chosen = FederatedTraining(rounds=1, batch_size=8)
    results = []
    for compiled in (False, True):
        model, clients = double_problem(num_clients=3)
        options = {"compile": compiled}
        results.append(weights_after(model, clients, DoubleCrossEntropy(), chosen, "sequential", **options))
    assert (results[0] - results[1]).abs().max() < 1e-9


Problem = tuple[nn.Module, list[Client], DenoisingLoss | FlowMatchingLoss]


def latent_problem(second: str | None = None, **changes) -> Problem:
    settings, rng = Denoiser(**{"channels": (8, 16), **changes}), np.random.default_rng(0)
    latents = torch.from_numpy(rng.standard_normal((30, 4, 4, 4), np.float32))
    owner, labels = rng.integers(0, 3, 30), torch.from_numpy(rng.integers(0, 3, 30))
    tensors = (latents, labels) if second is None else (latents, labels, latents.flip(-1).abs().half())
    model = build_denoiser(settings, 4, 4, 3)
    initialize(model, 0, "denoiser")
    handmade.fill(model)
    objective = denoising_loss(settings, noise_scheduler(settings), 3, (4, 4, 4), second)
    return model, group_by_client(owner, np.arange(30), tensors), objective


def flow_problem() -> Problem:
    return latent_problem("mirrored", prediction="flow")


def weighted_problem() -> Problem:
    return latent_problem("std", min_snr_gamma=5)


def vector_problem() -> Problem:
    return latent_problem(architecture="mlp", channels=(16,))


def image_problem() -> tuple[nn.Module, list[Client], AutoencoderLoss]:
    settings, rng = Autoencoder(channels=(8, 16)), np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (20, 8, 8, 1), np.uint8))
    model = build_autoencoder(settings, 1, 8, 8)
    initialize(model, 0, "autoencoder")
    return (
        model,
        group_by_client(rng.integers(0, 3, 20), np.arange(20), (images,)),
        AutoencoderLoss(1e-4, model.latent_shape),
    )


@pytest.mark.parametrize("problem", [latent_problem, flow_problem, weighted_problem, vector_problem, image_problem])
def test_autoencoder_and_denoiser_train_the_same_on_every_engine(problem):
    chosen = FederatedTraining(rounds=2, batch_size=8, learning_rate=0.01)
    results = {}
    for engine in ("sequential", "processes", "vectorized"):
        model, clients, objective = problem()
        results[engine] = weights_after(model, clients, objective, chosen, engine, workers=2)
    assert torch.equal(results["sequential"], results["processes"])
    assert (results["sequential"] - results["vectorized"]).abs().max() < 1e-4
    start = FlatModel(problem()[0]).weights
    assert (results["sequential"] - start).abs().max() > 1e-3


# --- what cannot be stacked, and who is picked ---


def test_batch_norm_is_not_stacked():
    model, clients = small_problem(normalization="batch")
    with pytest.raises(
        ValueError, match=r"engine 'vectorized' cannot train this: BatchNorm .*; use engine 'sequential'"
    ):
        weights_after(model, clients, CrossEntropy("none", 8), FederatedTraining(rounds=1), "vectorized")


def pick(num_clients: int = 8, rounds: int = 100, workers: int | None = 2, **changes) -> tuple[str, str]:
    model, clients = small_problem(num_clients)
    training = Training(CrossEntropy("none", 8), FederatedTraining(rounds=rounds, **changes), 0, "classifier")
    return choose(FlatModel(model), clients, training, Execution(workers=workers))


def test_many_clients_on_several_cores_go_to_processes():
    assert pick() == ("processes", "8 clients a round on 2 workers")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"workers": 1}, "one core"),
        ({"num_clients": 1}, "one client a round"),
        ({"client_fraction": 0.1}, "one client a round"),
        ({"rounds": 1}, "8 batches are over before workers have started"),
    ],
)
def test_what_gains_nothing_from_workers_stays_in_one_process(options, why):
    assert pick(**options) == ("sequential", why)


def test_the_choice_is_told(caplog):
    caplog.set_level("INFO", logger="fedsyn")
    train(PLAIN, [1.0], execution=Execution())
    assert "classifier: engine sequential (one client a round)" in caplog.text


def test_workers_of_a_named_gpu_stay_on_it_and_others_take_turns(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    cuda = torch.device("cuda", 0)
    assert worker_devices(Execution(device="cuda:1"), cuda, 2) == ["cuda:1", "cuda:1"]
    assert worker_devices(Execution(device="cuda"), cuda, 4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert worker_devices(Execution(), torch.device("cpu"), 2) == ["cpu", "cpu"]
    assert num_workers(Execution(device="cuda:1"), cuda) == 1
    assert num_workers(Execution(), cuda) == 3


def test_attention_under_bf16_is_not_stacked():
    model, clients, objective = latent_problem()
    chosen = FederatedTraining(rounds=1, batch_size=8, precision="bf16")
    with pytest.raises(ValueError, match="attention under precision 'bf16' has no stacked form"):
        weights_after(model, clients, objective, chosen, "vectorized")


def test_recomputed_statistics_are_the_same_whatever_threads_the_run_has():
    chosen = FederatedTraining(rounds=2, batch_size=8)
    results = []
    for engine, threads in (("sequential", 1), ("processes", 2)):
        torch.set_num_threads(threads)
        model, clients = small_problem(normalization="batch")
        execution = Execution(engine=engine, workers=2)
        state = federated_training(
            model, clients, CrossEntropy("none", 8), chosen, seed=0, stage="a", execution=execution, recompute=True
        )
        assert torch.get_num_threads() == threads
        results.append(torch.cat([state.weights, state.statistics]))
    assert torch.equal(*results)


def test_switches_of_arithmetic_are_put_back_after_a_training():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.deterministic
    seen = []
    chosen = FederatedTraining(**PLAIN.model_dump() | {"tf32": True})
    train(chosen, [1.0], after_round=lambda state: seen.append(torch.backends.cuda.matmul.allow_tf32))
    assert seen == [True]
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.deterministic) == before
