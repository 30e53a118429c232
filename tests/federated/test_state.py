"""A training on disk: every bit comes back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsyn.artifacts import Checkpoints
from fedsyn.federated.state import TrainingState, restored


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(len(shape)).standard_normal(shape)).to(dtype)


STATE = TrainingState(
    weights=torch.tensor([1 / 3, -0.0, float("inf"), 1e-42]),  # a denormal, a signed zero
    statistics=numbers(6),
    averaged=numbers(4),
    memory={"control": numbers(4), "controls": numbers(3, 4), "second_moment": numbers(4, dtype=torch.float64)},
    rounds_done=2,
    history=[
        {"round": 1, "clients": 3, "train_loss": 0.1 + 0.2},
        {"round": 2, "clients": 0, "train_loss": math.nan, "test_accuracy": 0.5},
    ],
)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.numpy().tobytes()


@pytest.mark.parametrize(
    "changes",
    [{}, {"averaged": None}, {"statistics": torch.zeros(0)}, {"memory": {}}, {"rounds_done": 0, "history": []}],
    ids=lambda changes: ", ".join(changes) or "everything",
)
def test_what_was_saved_comes_back_to_the_bit(changes, tmp_path):
    state = replace(STATE, **changes)
    state.save(tmp_path / "state.safetensors")
    again = TrainingState.restore(tmp_path / "state.safetensors")
    assert bits(again.weights) == bits(state.weights)
    assert bits(again.statistics) == bits(state.statistics)
    assert (again.averaged is None) == (state.averaged is None)
    assert bits(again.result()) == bits(state.result())
    assert {name: bits(tensor) for name, tensor in again.memory.items()} == {
        name: bits(tensor) for name, tensor in state.memory.items()
    }
    assert again.rounds_done == state.rounds_done
    assert repr(again.history) == repr(state.history)  # NaN is not equal to itself


def test_a_memory_may_be_called_like_a_field(tmp_path):
    state = replace(STATE, memory={"weights": numbers(2), "averaged": numbers(3), "memory.weights": numbers(1)})
    state.save(tmp_path / "state.safetensors")
    again = TrainingState.restore(tmp_path / "state.safetensors")
    assert bits(again.weights) == bits(STATE.weights)
    assert {name: len(tensor) for name, tensor in again.memory.items()} == {
        "weights": 2,
        "averaged": 3,
        "memory.weights": 1,
    }


def test_a_row_of_a_larger_tensor_is_saved_alone(tmp_path):
    rows = numbers(3, 4)
    replace(STATE, weights=rows[1], memory={"columns": rows[:, 2]}).save(tmp_path / "state.safetensors")
    again = TrainingState.restore(tmp_path / "state.safetensors")
    assert torch.equal(again.weights, rows[1])
    assert torch.equal(again.memory["columns"], rows[:, 2])


def test_states_share_no_memory_and_no_history():
    one, other = (TrainingState(torch.zeros(1), torch.zeros(0)) for _ in range(2))
    one.memory["momentum"] = torch.zeros(1)
    one.history.append({"round": 1})
    assert (other.memory, other.history) == ({}, [])


def test_the_result_is_the_moving_average_where_there_is_one():
    assert STATE.result() is STATE.averaged
    assert replace(STATE, averaged=None).result() is STATE.weights


def test_of_several_trainings_in_one_place_each_gets_its_own_state_back(tmp_path):
    """The first has ended after 4 rounds, the second was stopped after 2."""
    kept = Checkpoints(tmp_path)
    kept.save(0, 4, "safetensors", replace(STATE, rounds_done=4).save)
    kept.part(4).save(0, 2, "safetensors", STATE.save)
    first, second = (restored(part, torch.device("cpu")) for part in (kept, kept.part(4)))
    assert first is not None
    assert second is not None
    assert (first.rounds_done, second.rounds_done) == (4, 2)
