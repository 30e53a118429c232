"""Client-level differential privacy of the weights: DP-FedAvg (McMahan et al., 2018).

A client's update is clipped to the norm S (`local_training`), all clients weigh the same, and the server adds Gaussian
noise to the sum. What is protected is whether a client took part at all. The guarantee covers the weights only: losses,
confusion matrices, label counts and latent moments go up without noise.
"""

from torch import Tensor

from fedsyn.config import FederatedTraining
from fedsyn.federated.algorithms import Collected, FedAvg, Memory
from fedsyn.federated.client import Task
from fedsyn.federated.local_training import to_device
from fedsyn.randomness import generator


class PrivateMean(FedAvg):
    """The mean of clipped updates with noise, in the place of another algorithm's mean; the step stays that one's."""

    steps_alone = True  # a round that nobody answers shows as little as any other

    def __init__(self, algorithm: FedAvg, seed: int, stage: str, num_clients: int) -> None:
        super().__init__(algorithm.settings)
        self.algorithm, self.seed, self.stage = algorithm, seed, stage
        expected = self.settings.client_fraction * num_clients
        if expected < 1:
            raise ValueError(
                f"{stage}: client_fraction * num_clients must be >= 1 with privacy, got {expected:.3g}; "
                "raise client_fraction"
            )
        self.equal_weight = 1 / expected

    def memory(self, weights: Tensor, num_clients: int) -> Memory:
        return self.algorithm.memory(weights, num_clients)

    def weight(self, task: Task) -> float:
        """1 / (q K) for every client: fixed, since how many answer is itself private."""
        return self.equal_weight

    def mean(self, collected: Collected) -> Tensor:
        """sum_k Delta_k / (q K), with noise of standard deviation z S / (q K)."""
        assert self.settings.privacy is not None
        spread = self.settings.privacy.noise_multiplier * self.settings.privacy.clip_norm * self.equal_weight
        draw = generator(self.seed, self.stage, "privacy", round_index=collected.round_index)
        noise = to_device(draw.standard_normal(len(collected.summed)), collected.summed.device)
        return collected.summed.add(noise, alpha=spread)

    def step(self, weights: Tensor, mean: Tensor, memory: Memory) -> Tensor:
        return self.algorithm.step(weights, mean, memory)


def epsilon(settings: FederatedTraining, rounds: int | None = None) -> float:
    """The privacy budget epsilon spent after `rounds` (default: all), at `privacy.delta`; infinite without noise.

    By Opacus's Renyi accountant for the Poisson-sampled Gaussian mechanism (Mironov et al., 2019), neighbouring data
    sets differing in one client.
    """
    privacy = settings.privacy
    if rounds == 0:
        return 0.0
    if privacy is None or privacy.noise_multiplier == 0:
        return float("inf")
    from opacus.accountants import RDPAccountant

    spent = settings.rounds if rounds is None else rounds
    accountant = RDPAccountant()
    accountant.history = [(privacy.noise_multiplier, settings.client_fraction, spent)]
    return float(accountant.get_epsilon(privacy.delta))


def require_accountant() -> None:
    """Refuse before any work where the accountant is missing.

    Raises:
        ValueError: Opacus is not installed.
    """
    try:
        import opacus.accountants  # noqa: F401
    except ImportError as error:
        raise ValueError("privacy needs Opacus to count epsilon: pip install 'fedsyn[privacy]'") from error


def spent(settings: FederatedTraining) -> dict[str, float]:
    """What a training's metrics say of its privacy: nothing where there is none."""
    return {} if settings.privacy is None else {"epsilon": epsilon(settings), "delta": settings.privacy.delta}
