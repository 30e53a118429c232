"""The federated round, as the paper writes it: the server sends weights, clients train, the server steps.

Classifier, autoencoder and denoiser go through this one loop, each with its objective. Who trains the clients (one
after the other, in worker processes, stacked on a GPU, on a cluster) is the engine's business; what the server makes of
their updates is the algorithm's. All state is a `TrainingState`; measuring, saving and showing are `after_round`'s.
"""

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fedsyn.artifacts import Checkpoints
from fedsyn.config import Execution, FederatedTraining
from fedsyn.federated import privacy
from fedsyn.federated.algorithms import Collected, FedAvg, build_algorithm
from fedsyn.federated.arithmetic import arithmetic, one_thread
from fedsyn.federated.batch_norm import recompute_statistics
from fedsyn.federated.client import Broadcast, Client, Task, Training
from fedsyn.federated.cohort import draw_cohort
from fedsyn.federated.engines.choice import Engine, open_engine
from fedsyn.federated.flat import FlatModel, batch_norms, flattened
from fedsyn.federated.local_training import finite, num_drawn
from fedsyn.federated.objective import Objective
from fedsyn.federated.state import TrainingState, keeping, restored

logger = logging.getLogger(__name__)

SEQUENTIAL = Execution(engine="sequential")


def federated_training(
    model: nn.Module,
    clients: Sequence[Client],
    objective: Objective,
    settings: FederatedTraining,
    *,
    seed: int,
    stage: str,
    execution: Execution = SEQUENTIAL,
    recompute: bool = False,
    num_clients: int | None = None,
    state: TrainingState | None = None,
    checkpoints: Checkpoints | None = None,
    keep_last: bool = False,
    after_round: Callable[[TrainingState], None] = lambda state: None,
) -> TrainingState:
    """Train `model` for `settings.rounds` rounds and leave the resulting weights in it.

    `model`'s weights are theta^0 unless `state` continues an earlier training. With `recompute`, the cohort measures
    BatchNorm's statistics anew after each round. `num_clients` is K, clients without a sample included (default: those
    with one): privacy's denominator must not depend on the data. What an earlier attempt has kept in `checkpoints` is
    gone on from, to the same bits, and this one keeps its rounds there, with `keep_last` the last one in any case (for
    a stage of several trainings). `after_round` sees the state after each round, with the model at `state.result()`,
    and may add measurements to the last entry of its history.

    Raises:
        ValueError: no client has a sample; a client's loss or update is not finite (the message names round and
            client); the new weights are not finite; or the engine cannot do what the settings ask.
        Interrupted: a signal asked to stop; the rounds that were done are kept.
    """
    clients = sorted((client for client in clients if client.num_samples > 0), key=lambda client: client.client_id)
    if not clients:
        raise ValueError(f"{stage}: no client has a sample to train on; raise partition.labeled_fraction")
    algorithm = build_algorithm(settings)
    if settings.privacy is not None:
        privacy.require_accountant()
        algorithm = privacy.PrivateMean(algorithm, seed, stage, num_clients or len(clients))
    training = Training(
        objective,
        settings,
        seed,
        stage,
        keeps_each=algorithm.keeps_each,
        corrects=algorithm.corrects,
        min_batch=2 if batch_norms(model) else 1,
        compile=execution.compile,
    )
    model.train()
    with arithmetic(settings), flattened(model) as flat, open_engine(flat, clients, training, execution) as engine:
        if state is None and checkpoints is not None:
            state = restored(checkpoints, settings.rounds, flat.weights.device)
        if state is None:
            state = TrainingState(flat.weights.clone(), flat.statistics.clone())
            state.averaged = state.weights.clone() if settings.ema_decay else None
            state.memory = algorithm.memory(state.weights, len(clients))
        with keeping(state, checkpoints) as keep:
            while state.rounds_done < settings.rounds:
                counted = _train_round(state, flat, clients, training, algorithm, engine)
                flat.weights.copy_(state.result())
                if recompute and counted:
                    with one_thread():
                        state.statistics = recompute_statistics(flat, counted, training, state.rounds_done - 1)
                flat.statistics.copy_(state.statistics)
                after_round(state)
                keep(keep_last and state.rounds_done == settings.rounds)
        flat.weights.copy_(state.result())
        flat.statistics.copy_(state.statistics)
    return state


def _train_round(
    state: TrainingState,
    flat: FlatModel,
    clients: Sequence[Client],
    training: Training,
    algorithm: FedAvg,
    engine: Engine,
) -> list[tuple[Client, Task]]:
    """One round, from theta^r to theta^{r+1}, in `state`. Returns the clients whose update counted."""
    settings, stage, round_index = training.settings, training.stage, state.rounds_done
    # 1. the server draws the clients of the round and sends them theta^r
    cohort = draw_cohort(clients, training, round_index, algorithm.weight)
    tasks = [task for _, task in cohort]
    rate = learning_rate(settings, round_index)
    corrections = algorithm.corrections(tasks, state.memory)
    broadcast = Broadcast(round_index, rate, state.weights, state.statistics, corrections)
    # 2. each trains on its own data; what comes back is added up, and read once
    answer, reports = engine.train_round(broadcast, cohort)
    loss, rows = _read(reports.cpu(), tasks, training, round_index)
    each = None if answer.each is None else answer.each[rows]
    num_samples = sum(client.num_samples for client in clients)
    collected = Collected([tasks[row] for row in rows], answer.updates.total, each, round_index, rate, num_samples)
    # 3. the server steps to theta^{r+1}
    if rows or algorithm.steps_alone:
        state.weights = algorithm.step(state.weights, algorithm.mean(collected), state.memory)
        algorithm.remember(collected, state.memory)
        _refuse_nan(state.weights, stage, round_index)
    if rows and len(state.statistics):
        change = answer.statistics.total / collected.total("share")
        state.statistics = flat.proper(state.statistics + change.to(state.statistics.dtype))
    if state.averaged is not None:
        warm = min(settings.ema_decay, (1 + round_index) / (10 + round_index))  # early rounds count little
        state.averaged.lerp_(state.weights, 1 - warm)
    state.rounds_done = round_index + 1
    state.images_seen += sum(num_drawn(task.num_samples, task.num_batches, settings.batch_size) for task in tasks)
    state.history.append({"round": round_index + 1, "clients": len(rows), "train_loss": loss})
    return [cohort[row] for row in rows]


def learning_rate(settings: FederatedTraining, round_index: int) -> float:
    """The local learning rate of a round: constant, or half a cosine from its first value towards zero."""
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * round_index / settings.rounds))


def _read(reports: Tensor, tasks: Sequence[Task], training: Training, round_index: int) -> tuple[float, list[int]]:
    """The mean loss of the clients whose update counts, and their rows in the cohort.

    `reports` (m, 2): each client's mean loss and largest change of a weight.
    """
    counted = []
    for row, (task, usable) in enumerate(zip(tasks, finite(*reports.unbind(1)).tolist(), strict=True)):
        if usable:
            counted.append(row)
            continue
        loss, size = reports[row].tolist()
        what = f"the loss of client {task.client_id} is {loss}"
        if math.isfinite(loss):
            what = f"the update of client {task.client_id} has a largest change of {size:.4g}"
        if training.settings.nonfinite_updates == "fail":
            raise ValueError(
                f"{training.stage}: {what} in round {round_index + 1}; lower its learning_rate, set its gradient_clip, "
                "or leave such clients out with nonfinite_updates 'exclude'"
            )
        logger.warning("%s: %s in round %d; its update is left out", training.stage, what, round_index + 1)
    if tasks and not counted:
        raise ValueError(
            f"{training.stage}: no client's update is finite in round {round_index + 1}; "
            "lower its learning_rate or set its gradient_clip"
        )
    if not tasks:
        logger.warning(
            "%s: no client answered in round %d; the weights stay as they are", training.stage, round_index + 1
        )
        return math.nan, []
    total = sum(tasks[row].share for row in counted)
    return sum(tasks[row].share * float(reports[row, 0]) for row in counted) / total, counted


def _refuse_nan(weights: Tensor, stage: str, round_index: int) -> None:
    if not bool(torch.isfinite(weights).all()):
        raise ValueError(
            f"{stage}: the averaged weights are not finite after round {round_index + 1}; "
            "lower its learning_rate, its server.learning_rate, or set its gradient_clip"
        )
