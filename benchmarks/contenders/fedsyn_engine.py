"""fedsyn's own round loop, with an engine of one's choice, on the model that all PyTorch contenders train."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench  # before torch

# isort: split

import torch

from fedsyn.config import Classifier, Execution, FederatedTraining
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.client import group_by_client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.classifier import build_classifier
from fedsyn.models.initialize import initialize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="sequential")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--width", type=int, help="fedsyn's CNN of this width instead")
    args, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    common = bench.arguments()
    clock = bench.Clock(processes=True)
    bench.prepare_torch()
    torch.set_num_threads(args.threads)
    workload = bench.load(common.workload)
    images, labels = torch.from_numpy(workload.images)[..., None], torch.from_numpy(workload.labels)
    clients = group_by_client(workload.owner, torch.arange(len(labels)).numpy(), (images, labels))
    settings = FederatedTraining(
        rounds=common.rounds + 1,  # the first one is start-up: workers arrive in it
        batch_size=bench.BATCH_SIZE,
        learning_rate=bench.LEARNING_RATE,
        learning_rate_schedule="constant",
        momentum=bench.MOMENTUM,
    )
    execution = Execution(engine=args.engine, workers=args.workers, compile=args.compile)

    def after_round(state: TrainingState) -> None:
        if state.rounds_done == 1:
            clock.start()
        else:
            clock.lap()

    model = bench.cnn(pool_first=True).to(memory_format=torch.channels_last)
    if args.width:
        model = build_classifier(Classifier(width=args.width), 1, 28, 28, bench.NUM_CLASSES)
        initialize(model, 0, "benchmark")
    objective = CrossEntropy("none", images.shape[1])
    federated_training(
        model, clients, objective, settings, seed=0, stage="benchmark", execution=execution, after_round=after_round
    )
    threads = f", {args.threads} threads" if args.threads > 1 else ""
    bench.report(f"fedsyn {args.engine}{threads}", ["torch"], clock, bench.evaluate(model, workload))


if __name__ == "__main__":
    main()
