"""pfl-research (package `pfl`): its FederatedAveraging on its SimulatedBackend, in one process.

As in its own image classification benchmark: users' tensors in memory, one resident model, statistics weighted by the
users' numbers of data points. Its data sets are not shuffled between epochs. FederatedAveraging evaluates users before
and after training in the first round and every so many rounds; evaluation is no part of this workload and is off.
"""

import dataclasses
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench  # before torch

# isort: split

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel


class Network(torch.nn.Module):
    """The model with the two methods that pfl asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = bench.cnn()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(images), labels)

    def metrics(self, images: torch.Tensor, labels: torch.Tensor) -> dict:
        return {}  # pfl asks every model for them; nothing is evaluated here


class TrainingOnly(FederatedAveraging):
    """FederatedAveraging that never evaluates."""

    def get_next_central_contexts(self, *args, **kwargs):
        contexts, model, metrics = super().get_next_central_contexts(*args, **kwargs)
        if contexts is not None:
            contexts = tuple(dataclasses.replace(context, do_evaluation=False) for context in contexts)
        return contexts, model, metrics


class Lap(TrainingProcessCallback):
    """Time the central iterations."""

    def __init__(self, clock: bench.Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        self.clock.start()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.clock.lap()
        return False, Metrics()


def main() -> None:
    args = bench.arguments()
    clock = bench.Clock()
    bench.prepare_torch()
    workload = bench.load(args.workload)
    users = dict(enumerate(bench.client_tensors(workload)))
    # This sampler cycles through the users: a cohort as large as the population is full participation.
    dataset = FederatedDataset.from_slices(users, get_user_sampler("minimize_reuse", list(users)))
    network = Network()
    model = PyTorchModel(
        model=network,
        local_optimizer_create=functools.partial(torch.optim.SGD, momentum=bench.MOMENTUM),
        central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
    )
    TrainingOnly().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=args.rounds,
            evaluation_frequency=args.rounds,
            train_cohort_size=len(users),
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=dataset, val_data=dataset, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=bench.BATCH_SIZE, local_num_epochs=1, local_learning_rate=bench.LEARNING_RATE
        ),
        callbacks=[Lap(clock)],
        send_metrics_to_platform=False,
    )
    bench.report("pfl_research", ["pfl", "torch"], clock, bench.evaluate(network, workload))


if __name__ == "__main__":
    main()
