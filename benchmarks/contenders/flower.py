"""Flower: a ClientApp and a ServerApp on its simulation engine (Ray), one CPU per client and one client at a time.

As in its quickstart-pytorch example: FedAvg on the server; in the client a new model for each message, a DataLoader,
and weights sent as an ArrayRecord. Before the first round the server sends one query to a client, so that starting Ray,
its worker and PyTorch in it count as start-up. Rounds end in the server's evaluation hook.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench

os.environ["FLWR_TELEMETRY_ENABLED"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import torch
from flwr.app import ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch.utils.data import DataLoader, TensorDataset

args = bench.arguments()
client_app = ClientApp()
server_app = ServerApp()


@client_app.query()
def query(message: Message, context: Context) -> Message:
    """Answer once this worker can train: the data that it loads here stay cached in its process."""
    bench.prepare_torch()
    bench.client_tensors(bench.load(args.workload))
    return Message(RecordDict(), reply_to=message)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One epoch of SGD on this client's samples, from the weights in the message."""
    model = bench.cnn()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    dataset = TensorDataset(*bench.client_tensors(bench.load(args.workload))[context.node_config["partition-id"]])
    optimizer = torch.optim.SGD(model.parameters(), lr=bench.LEARNING_RATE, momentum=bench.MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    model.train()
    for images, labels in DataLoader(dataset, batch_size=bench.BATCH_SIZE, shuffle=True):
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()
    metrics = MetricRecord({"num-examples": len(dataset)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Run the rounds of FedAvg and report."""
    clock = bench.Clock(processes=True)
    model = bench.cnn()
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    grid.send_and_receive([Message(RecordDict(), nodes[0], MessageType.QUERY)])

    def time_round(server_round: int, arrays: ArrayRecord) -> None:
        clock.lap() if server_round else clock.start()

    result = FedAvg(fraction_evaluate=0.0).start(
        grid, ArrayRecord(model.state_dict()), num_rounds=args.rounds, evaluate_fn=time_round
    )
    model.load_state_dict(result.arrays.to_torch_state_dict())
    scores = bench.evaluate(model, bench.load(args.workload))
    bench.report("flower", ["flwr", "ray", "torch"], clock, scores)


def main() -> None:
    bench.prepare_torch()
    run_simulation(
        server_app,
        client_app,
        num_supernodes=bench.load(args.workload).num_clients,
        backend_config={
            "init_args": {"address": "local", "num_cpus": 1},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main()
