"""A denoiser whose client's latents go bad: the training stops with names, and goes on from what was good."""

import numpy as np
import pytest
import torch

from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.config import Denoiser, Execution
from fedsyn.diffusion.objectives import denoising_loss
from fedsyn.federated.client import Client, group_by_client
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.models.denoiser import build_denoiser, noise_scheduler
from fedsyn.models.initialize import initialize

OWNERS = np.repeat([3, 5, 7], 8)


def train(settings: Denoiser, clients: list[Client], **rest: object) -> TrainingState:
    model = build_denoiser(settings, 2, 4, 3)
    initialize(model, 0, "denoiser")
    objective = denoising_loss(settings, noise_scheduler(settings), 3, (2, 4, 4))
    return federated_training(model, clients, objective, settings, seed=0, stage="denoiser", **rest)


@pytest.mark.parametrize("prediction", ["v_prediction", "flow"])
@pytest.mark.parametrize("engine", ["sequential", "vectorized"])
def test_a_loss_that_is_no_number_names_round_and_client_and_what_was_good_is_kept(engine, prediction, tmp_path):
    settings = Denoiser(channels=(8,), attention=False, rounds=4, batch_size=8, prediction=prediction, ema_decay=0.5)
    latents = torch.from_numpy(np.random.default_rng(0).standard_normal((24, 2, 4, 4), np.float32))
    clients = group_by_client(OWNERS, np.arange(24), (latents, torch.arange(24) % 3))
    execution = Execution(engine=engine)
    undisturbed = train(settings, clients, execution=execution)

    good = latents[10].clone()

    def spoil(state: TrainingState) -> None:
        if state.rounds_done == 2:
            latents[10] = torch.nan  # of client 5

    kept = {"execution": execution, "checkpoints": Checkpoints(tmp_path, Pace(1, None))}
    with pytest.raises(ValueError, match="denoiser: the loss of client 5 is nan in round 3; lower its learning_rate"):
        train(settings, clients, after_round=spoil, **kept)
    assert Checkpoints(tmp_path).units() == 2

    latents[10] = good
    resumed = train(settings, clients, **kept)
    assert resumed.rounds_done == 4
    assert torch.equal(resumed.result(), undisturbed.result())
