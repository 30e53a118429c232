"""Federated training: the client's optimiser, who takes part in a round, and what the server does with the updates.

Each server algorithm is a group of its own with just its own fields; `algorithm` names it.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedsyn.config.section import Fraction, Positive, Section

ServerRate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class FedAvg(Section):
    """theta <- theta + eta * sum p_k Delta_k (McMahan et al., 2017)."""

    algorithm: Literal["fedavg"] = "fedavg"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta; 1 is the plain average")


class FedAvgM(Section):
    """Momentum over rounds (Hsu et al., 2019)."""

    algorithm: Literal["fedavgm"] = "fedavgm"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")
    momentum: Decay = Field(0.9, description="Momentum of the averaged update over rounds")


class FedAdam(Section):
    """Adam over rounds (Reddi et al., 2021)."""

    algorithm: Literal["fedadam"] = "fedadam"
    learning_rate: ServerRate = Field(0.01, description="Server learning rate eta")
    momentum: Decay = Field(0.9, description="Decay of the first moment, beta_1")
    second_moment_decay: Decay = Field(0.99, description="Decay of the second moment, beta_2")
    adaptivity: float = Field(
        1e-3, gt=0, description="Degree of adaptivity tau, added to the root of the second moment"
    )


class FedYogi(FedAdam):
    """Yogi over rounds: Adam whose second moment changes additively (Reddi et al., 2021)."""

    algorithm: Literal["fedyogi"] = "fedyogi"  # type: ignore[assignment]


class FedProx(Section):
    """FedAvg whose clients also minimise mu/2 ||theta_k - theta||^2 (Li et al., 2020)."""

    algorithm: Literal["fedprox"] = "fedprox"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")
    proximal_weight: float = Field(0.01, ge=0, description="Weight mu of the proximal term; 0 is FedAvg")


class Scaffold(Section):
    """Control variates against client drift (Karimireddy et al., 2020); keeps one vector of weights a client."""

    algorithm: Literal["scaffold"] = "scaffold"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")


class FedNova(Section):
    """Updates normalised by the client's number of local steps (Wang et al., 2020)."""

    algorithm: Literal["fednova"] = "fednova"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")


class Median(Section):
    """Coordinate-wise median of the updates, unweighted (Yin et al., 2018)."""

    algorithm: Literal["median"] = "median"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")


class TrimmedMean(Section):
    """Coordinate-wise mean without the largest and smallest updates, unweighted (Yin et al., 2018)."""

    algorithm: Literal["trimmed_mean"] = "trimmed_mean"
    learning_rate: ServerRate = Field(1.0, description="Server learning rate eta")
    trimmed_share: float = Field(0.1, ge=0, lt=0.5, description="Share of the updates cut off at either end")


Server = FedAvg | FedAvgM | FedAdam | FedYogi | FedProx | Scaffold | FedNova | Median | TrimmedMean


class Privacy(Section):
    """Client-level differential privacy of the weights: clipped updates, Gaussian noise (McMahan et al., 2018)."""

    clip_norm: float = Field(gt=0, description="Largest L2 norm S of a client's update")
    noise_multiplier: float = Field(
        ge=0, description="Standard deviation z of the noise on the sum of the updates, in units of clip_norm"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="Delta at which epsilon is reported; below 1 / num_clients")


class FederatedTraining(Section):
    """Rounds of local training and aggregation."""

    rounds: Positive = Field(20, description="Communication rounds R")
    local_epochs: Positive = Field(1, description="Local epochs E of a client in a round")
    local_steps: Positive | None = Field(
        None, description="Batches of a client in a round, whatever its size; empty: local_epochs decides"
    )
    batch_size: Positive = Field(32, description="Images of a local batch B")
    client_fraction: Fraction = Field(1.0, description="Share of the clients drawn in each round")
    client_sampling: Literal["uniform", "by_size", "poisson"] = Field(
        "uniform",
        description="`uniform`: a fixed number without replacement; `by_size`: with replacement, in proportion to the "
        "samples, averaged equally; `poisson`: each client by itself with probability client_fraction",
    )
    dropout_rate: float = Field(0.0, ge=0, lt=1, description="Probability that a drawn client never answers")
    straggler_rate: float = Field(
        0.0, ge=0, lt=1, description="Probability that a drawn client finishes only a random part of its batches"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="Local optimiser, fresh in every round")
    learning_rate: float = Field(0.05, gt=0, description="Local learning rate of the first round")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Course of the learning rate over the rounds; cosine ends near zero"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd, first moment decay of adamw")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of the local optimiser")
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of a local gradient; empty: none")
    server: Server = Field(
        FedAvg(), discriminator="algorithm", description="What the server makes of the clients' updates"
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per round of the server's moving average of the global weights; 0: none",
    )
    nonfinite_updates: Literal["fail", "exclude"] = Field(
        "fail", description="A client whose loss or update is not finite: stop and name it, or leave it out and name it"
    )
    privacy: Privacy | None = Field(None, description="Client-level differential privacy of the weights; empty: none")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Arithmetic of the local training; bf16 and fp16 autocast, fp16 with loss scaling"
    )
    tf32: bool = Field(False, description="Allow TensorFloat-32 in fp32 matrix products on CUDA")

    @model_validator(mode="after")
    def _algorithm_fits_optimizer(self) -> "FederatedTraining":
        name = self.server.algorithm
        decorated = self.momentum > 0 or self.weight_decay > 0 or self.gradient_clip is not None
        if name == "scaffold" and (self.optimizer != "sgd" or decorated):
            raise ValueError(
                "server.algorithm 'scaffold' reads the mean gradient off the update, which is one only for plain SGD: "
                "set optimizer 'sgd', momentum 0, weight_decay 0 and no gradient_clip"
            )
        if name in ("scaffold", "fednova") and self.precision == "fp16":
            raise ValueError(
                f"server.algorithm '{name}' counts local steps, some of which precision 'fp16' skips; "
                "set precision 'bf16' or 'fp32'"
            )
        if name == "fednova" and self.optimizer != "sgd":
            raise ValueError(
                "server.algorithm 'fednova' normalises steps of SGD, got optimizer 'adamw'; "
                "set optimizer 'sgd' or another algorithm"
            )
        return self

    @model_validator(mode="after")
    def _privacy_fits(self) -> "FederatedTraining":
        if self.privacy is None:
            return self
        if self.server.algorithm not in ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedprox"):
            raise ValueError(
                f"privacy bounds a sum of equal clients, which server.algorithm '{self.server.algorithm}' does not "
                "take; use fedavg, fedavgm, fedadam, fedyogi or fedprox"
            )
        if self.client_sampling == "by_size" or (self.client_fraction < 1 and self.client_sampling == "uniform"):
            raise ValueError(
                "privacy counts on clients that are drawn independently (the accountant's assumption): set "
                f"client_sampling 'poisson', or 'uniform' with client_fraction 1; got {self.client_sampling!r}"
            )
        return self
