"""Who takes part in a round, with how much work and which weight. All of it is drawn from named generators."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Client, Task, Training
from fedsyn.federated.local_training import num_batches
from fedsyn.randomness import generator


def draw_cohort(
    clients: Sequence[Client], training: Training, round_index: int, weight: Callable[[Task], float]
) -> list[tuple[Client, Task]]:
    """S_r: the clients that are drawn and answer, each with its task. It may be empty.

    Shares p_k sum to 1 over those that answer: n_k over their samples, or with `by_size` how often k was drawn.
    `weight` says what an update counts in the round's sum.
    """
    settings, seed, stage = training.settings, training.seed, training.stage
    draw = generator(seed, stage, "cohort", round_index=round_index)
    times = sample_clients([client.num_samples for client in clients], settings, draw)
    drawn: list[tuple[int, int, int]] = []
    for place in np.flatnonzero(times).tolist():
        client = clients[place]
        chance = generator(seed, stage, "answer", round_index=round_index, client_id=client.client_id)
        drops, straggles, pace = chance.random(3)
        if drops < settings.dropout_rate:
            continue
        steps = num_batches(client.num_samples, settings)
        if straggles < settings.straggler_rate:
            steps = max(1, math.floor(pace * steps))
        drawn.append((place, steps, int(times[place]) if settings.client_sampling == "by_size" else client.num_samples))
    total = sum(amount for _, _, amount in drawn)
    cohort = []
    for row, (place, steps, amount) in enumerate(drawn):
        client = clients[place]
        task = Task(row, place, client.client_id, client.num_samples, steps, amount / total, amount / total)
        cohort.append((client, replace(task, weight=weight(task))))
    return cohort


def largest_cohort(num_clients: int, settings: FederatedTraining) -> int:
    """The most clients that a round can draw."""
    if settings.client_sampling == "poisson":
        return num_clients
    return math.ceil(settings.client_fraction * num_clients - 1e-9)  # 0.07 * 100 is a little more than 7


def sample_clients(sizes: Sequence[int], settings: FederatedTraining, rng: np.random.Generator) -> np.ndarray:
    """How often each client (K,) is drawn.

    `uniform`: ceil(fraction * K) different ones. `by_size`: as many draws with replacement, with probability n_k / n,
    so that an equal average is unbiased (Li et al., 2020, scheme I). `poisson`: each by itself, with probability
    fraction.
    """
    count, fraction = len(sizes), settings.client_fraction
    if settings.client_sampling == "poisson":
        return (rng.random(count) < fraction).astype(np.int64)
    draws = largest_cohort(count, settings)
    if settings.client_sampling == "by_size":
        return rng.multinomial(draws, np.asarray(sizes) / sum(sizes))
    times = np.zeros(count, dtype=np.int64)
    times[rng.permutation(count)[:draws]] = 1
    return times
