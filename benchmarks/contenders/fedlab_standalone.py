"""FedLab: its SGDSerialClientTrainer and SyncServerHandler in its StandalonePipeline, in one process.

As in its standalone-mnist example, but for three things that the workload asks for, each by overriding the method that
FedLab gives for it: SGD has momentum, which starts afresh in every client; the mean is weighted by the clients' sizes;
and clients' data sets stay in memory, where the example reads a file for each client in each round.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench  # before torch

# isort: split

import torch
from fedlab.contrib.algorithm.basic_client import SGDSerialClientTrainer
from fedlab.contrib.algorithm.basic_server import SyncServerHandler
from fedlab.contrib.dataset.basic_dataset import BaseDataset, FedDataset
from fedlab.core.standalone import StandalonePipeline
from fedlab.utils import Aggregators
from torch.utils.data import DataLoader


class InMemory(FedDataset):
    """The clients' data sets."""

    def __init__(self, workload: bench.Workload) -> None:
        super().__init__()
        self.clients = [BaseDataset(images, labels) for images, labels in bench.client_tensors(workload)]
        self.num = len(self.clients)

    def get_dataset(self, id, type="train"):
        return self.clients[id]

    def get_dataloader(self, id, batch_size, type="train"):
        return DataLoader(self.clients[id], batch_size=batch_size, shuffle=True)


class Trainer(SGDSerialClientTrainer):
    """SGD with momentum; uploads the client's size beside its weights."""

    def setup_optim(self, epochs, batch_size, lr):
        super().setup_optim(epochs, batch_size, lr)
        self.optimizer = torch.optim.SGD(self._model.parameters(), lr, momentum=bench.MOMENTUM)

    def train(self, model_parameters, train_loader):
        self.setup_optim(self.epochs, self.batch_size, self.lr)
        return [*super().train(model_parameters, train_loader), torch.tensor(float(len(train_loader.dataset)))]


class Handler(SyncServerHandler):
    """The mean of the clients' weights, weighted by their sizes."""

    def global_update(self, buffer):
        parameters, sizes = zip(*buffer, strict=True)
        self.set_model(Aggregators.fedavg_aggregate(list(parameters), torch.stack(sizes)))


class Pipeline(StandalonePipeline):
    """Times the rounds; `evaluate` is called at the end of each."""

    def __init__(self, handler: Handler, trainer: Trainer, clock: bench.Clock) -> None:
        super().__init__(handler, trainer)
        self.clock = clock

    def main(self):
        self.clock.start()
        super().main()

    def evaluate(self):
        self.clock.lap()


def main() -> None:
    args = bench.arguments()
    clock = bench.Clock()
    bench.prepare_torch()
    workload = bench.load(args.workload)
    model = bench.cnn()
    dataset = InMemory(workload)
    trainer = Trainer(model, num_clients=dataset.num)
    trainer.setup_dataset(dataset)
    trainer.setup_optim(epochs=1, batch_size=bench.BATCH_SIZE, lr=bench.LEARNING_RATE)
    handler = Handler(model, global_round=args.rounds, sample_ratio=1.0)
    Pipeline(handler, trainer, clock).main()
    scores = bench.evaluate(handler.model, workload)
    bench.report("fedlab_standalone", ["fedlab", "torch"], clock, scores)


if __name__ == "__main__":
    main()
