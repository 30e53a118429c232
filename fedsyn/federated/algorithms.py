"""The server's side of a round: what becomes of the clients' updates. Each algorithm is about the size of its idea.

Notation: theta (P,) the global weights, Delta_k = theta_k - theta a client's update, p_k its share, eta the server's
learning rate. FedProx changes only what a client minimises (`local_training`), so here it is FedAvg.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedsyn.config import FederatedTraining
from fedsyn.federated.client import Task

Memory = dict[str, Tensor]
"""What an algorithm keeps between rounds, by name. It is saved and restored with the training."""


@dataclass(frozen=True)
class Collected:
    """What came up from the clients of a round whose update counts."""

    tasks: Sequence[Task]
    summed: Tensor
    """sum_k weight_k Delta_k (P,) float64."""
    each: Tensor | None
    """Every Delta_k (m, P), where the algorithm asked for them."""
    round_index: int
    learning_rate: float
    """The clients' learning rate in this round."""
    num_samples: int
    """The samples of all K clients, drawn or not."""

    def total(self, weight: str) -> float:
        """The sum of the tasks' `share` or `weight`: less than 1 where a client was left out."""
        return sum(getattr(task, weight) for task in self.tasks)


class FedAvg:
    """theta <- theta + eta * sum p_k Delta_k."""

    keeps_each = False
    """Whether it needs every update apart."""
    corrects = False
    """Whether clients add something to their gradients."""
    steps_alone = False
    """Whether the server steps even where no client has answered."""

    def __init__(self, settings: FederatedTraining) -> None:
        self.settings = settings
        self.options: Any = settings.server

    def memory(self, weights: Tensor, num_clients: int) -> Memory:
        """What is kept between rounds, before the first one."""
        return {}

    def weight(self, task: Task) -> float:
        """The factor of a client's update in the round's sum."""
        return task.share

    def corrections(self, tasks: Sequence[Task], memory: Memory) -> Tensor | None:
        """What each client adds to its gradients (m, P)."""
        return None

    def mean(self, collected: Collected) -> Tensor:
        """The cohort's update (P,) float64."""
        return collected.summed / collected.total("weight")

    def step(self, weights: Tensor, mean: Tensor, memory: Memory) -> Tensor:
        """theta^{r+1} (P,) from theta^r and the cohort's update."""
        return weights.double().add(mean, alpha=self.options.learning_rate).to(weights.dtype)

    def remember(self, collected: Collected, memory: Memory) -> None:
        """What a round leaves in the memory beside the step."""


class FedAvgM(FedAvg):
    """m <- beta m + Delta; theta <- theta + eta m."""

    def memory(self, weights: Tensor, num_clients: int) -> Memory:
        return {"momentum": torch.zeros_like(weights, dtype=torch.float64)}

    def step(self, weights: Tensor, mean: Tensor, memory: Memory) -> Tensor:
        momentum = memory["momentum"].mul_(self.options.momentum).add_(mean)
        return super().step(weights, momentum, memory)


class FedAdam(FedAvg):
    """m <- b_1 m + (1 - b_1) Delta; v <- b_2 v + (1 - b_2) Delta^2; theta <- theta + eta m / (sqrt v + tau).

    As in Reddi et al. (2021): v begins at tau^2, and neither moment is corrected for its beginning.
    """

    def memory(self, weights: Tensor, num_clients: int) -> Memory:
        zeros = torch.zeros_like(weights, dtype=torch.float64)
        return {"momentum": zeros, "second_moment": torch.full_like(zeros, self.options.adaptivity**2)}

    def step(self, weights: Tensor, mean: Tensor, memory: Memory) -> Tensor:
        momentum = memory["momentum"].lerp_(mean, 1 - self.options.momentum)
        second = self.second_moment(memory["second_moment"], mean.square(), 1 - self.options.second_moment_decay)
        return super().step(weights, momentum / (second.sqrt() + self.options.adaptivity), memory)

    def second_moment(self, moment: Tensor, square: Tensor, rate: float) -> Tensor:
        """The new second moment, in place."""
        return moment.lerp_(square, rate)


class FedYogi(FedAdam):
    """FedAdam with v <- v - (1 - b_2) Delta^2 sign(v - Delta^2)."""

    def second_moment(self, moment: Tensor, square: Tensor, rate: float) -> Tensor:
        return moment.sub_(square * torch.sign(moment - square), alpha=rate)


class FedNova(FedAvg):
    """theta <- theta + eta * tau_eff * sum p_k Delta_k / a_k, with tau_eff = sum p_k a_k.

    a_k is the length of a client's path in units of its gradients: its number of steps tau_k, or with momentum rho
    the sum of (1 - rho^i) / (1 - rho) over i = 1 .. tau_k. Without it, clients with more steps pull harder.
    """

    def weight(self, task: Task) -> float:
        return task.share / self.path_length(task.num_batches)

    def mean(self, collected: Collected) -> Tensor:
        share = collected.total("share")
        effective = sum(task.share * self.path_length(task.num_batches) for task in collected.tasks) / share
        return collected.summed * (effective / share)

    def path_length(self, steps: int) -> float:
        """a_k of a client that took `steps` steps."""
        rho = self.settings.momentum
        return (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)


class Scaffold(FedAvg):
    """theta as FedAvg; clients add c - c_k to their gradients: c_k estimates their own gradient, c = sum p_k c_k.

    Option II of the paper: c_k <- c_k - c - Delta_k / (tau_k * local learning rate). c_k stays at the client; a
    simulation keeps it on its behalf. Clients weigh as in FedAvg here, by samples; the paper weighs them equally.
    """

    keeps_each = True
    corrects = True

    def memory(self, weights: Tensor, num_clients: int) -> Memory:
        return {"control": torch.zeros_like(weights), "controls": weights.new_zeros(num_clients, len(weights))}

    def corrections(self, tasks: Sequence[Task], memory: Memory) -> Tensor | None:
        return memory["control"] - memory["controls"][[task.place for task in tasks]]

    def mean(self, collected: Collected) -> Tensor:
        assert collected.each is not None
        shares = collected.each.new_tensor([task.share for task in collected.tasks], dtype=torch.float64)
        return shares @ collected.each.double() / collected.total("share")

    def remember(self, collected: Collected, memory: Memory) -> None:
        assert collected.each is not None
        control, places = memory["control"], [task.place for task in collected.tasks]
        steps = collected.each.new_tensor([[task.num_batches] for task in collected.tasks])
        change = -control - collected.each / (steps * collected.learning_rate)  # (m, P)
        memory["controls"][places] += change
        parts = collected.each.new_tensor([task.num_samples / collected.num_samples for task in collected.tasks])
        control += parts @ change


class Median(FedAvg):
    """The coordinate-wise median of the updates; of an even number, the mean of the middle two."""

    keeps_each = True

    def mean(self, collected: Collected) -> Tensor:
        assert collected.each is not None
        return trimmed_mean(collected.each, (len(collected.each) - 1) // 2)


class TrimmedMean(FedAvg):
    """The coordinate-wise mean of the updates without the floor(share * m) largest and smallest of the m."""

    keeps_each = True

    def mean(self, collected: Collected) -> Tensor:
        assert collected.each is not None
        return trimmed_mean(collected.each, int(self.options.trimmed_share * len(collected.each) + 1e-9))


def trimmed_mean(updates: Tensor, cut: int, columns: int = 1 << 20) -> Tensor:
    """The mean of each column of `updates` (m, P) without its `cut` largest and smallest values; (P,) float64."""
    parts = (part.sort(0).values[cut : len(updates) - cut].double().mean(0) for part in updates.split(columns, 1))
    return torch.cat(list(parts))


ALGORITHMS: dict[str, type[FedAvg]] = {
    "fedavg": FedAvg,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedprox": FedAvg,
    "scaffold": Scaffold,
    "fednova": FedNova,
    "median": Median,
    "trimmed_mean": TrimmedMean,
}


def build_algorithm(settings: FederatedTraining) -> FedAvg:
    """The algorithm that `settings.server` names."""
    return ALGORITHMS[settings.server.algorithm](settings)
