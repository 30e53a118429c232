"""What a researcher writes first: a deep copy of the model for each client, a DataLoader, and a mean of state dicts."""

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench  # before torch

# isort: split

import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset


def train(model: torch.nn.Module, dataset: Dataset) -> dict[str, torch.Tensor]:
    """One epoch of SGD on a client's data set; the state dict of the trained model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=bench.LEARNING_RATE, momentum=bench.MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    model.train()
    for images, labels in DataLoader(dataset, batch_size=bench.BATCH_SIZE, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    return model.state_dict()


def average(states: list[dict[str, torch.Tensor]], sizes: list[int]) -> dict[str, torch.Tensor]:
    """The mean of the clients' state dicts, weighted by their sizes."""
    return {
        key: sum(state[key] * (size / sum(sizes)) for state, size in zip(states, sizes, strict=True))
        for key in states[0]
    }


def main() -> None:
    args = bench.arguments()
    clock = bench.Clock()
    bench.prepare_torch()
    workload = bench.load(args.workload)
    dataset = TensorDataset(*bench.tensors(workload))
    clients = [Subset(dataset, rows.tolist()) for rows in workload.clients()]
    model = bench.cnn()

    clock.start()
    for _ in range(args.rounds):
        states = [train(copy.deepcopy(model), client) for client in clients]
        model.load_state_dict(average(states, [len(client) for client in clients]))
        clock.lap()

    bench.report("naive", ["torch"], clock, bench.evaluate(model, workload))


if __name__ == "__main__":
    main()
