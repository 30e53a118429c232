"""A training that is stopped anywhere, as often as it likes, and gone on with ends at the bits of one in one piece."""

import os
import signal
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from torch import nn

from fedsyn import interruption
from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.config import Execution, FederatedTraining
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.state import TrainingState
from fedsyn.federated.training import federated_training
from fedsyn.interruption import Interrupted
from tests.federated.problems import small_problem
from tests.federated.test_state import bits

ALGORITHMS: dict[str, dict[str, Any]] = {
    "fedavg and moving average": {"ema_decay": 0.5, "dropout_rate": 0.3, "straggler_rate": 0.3},
    "scaffold": {"server": {"algorithm": "scaffold"}, "momentum": 0.0, "client_fraction": 0.6},
    "fedadam": {"server": {"algorithm": "fedadam"}},
    "private": {
        "client_sampling": "poisson",
        "client_fraction": 0.8,
        "privacy": {"clip_norm": 1.0, "noise_multiplier": 1.0},
    },
    "recomputed statistics": {"ema_decay": 0.5},
}
ENGINES = ("sequential", "processes", "vectorized")
ROUNDS = 4
EVERY_ROUND, EVERY_OTHER, WHEN_ASKED = Pace(1, None), Pace(2, None), Pace(None, None)

CASES = [
    *((algorithm, "sequential") for algorithm in ALGORITHMS),
    *((algorithm, "vectorized") for algorithm in ALGORITHMS if algorithm != "recomputed statistics"),  # no BatchNorm
    *((algorithm, "processes") for algorithm in ("scaffold", "recomputed statistics")),
]


def measure(state: TrainingState) -> None:
    """A measurement, as a stage adds it to the history."""
    state.history[-1]["norm"] = float(state.weights.norm())


def train(algorithm: str, engine: str, **rest: Any) -> tuple[TrainingState, nn.Module]:
    """Train from the beginning, or from what there is."""
    recompute = algorithm == "recomputed statistics"
    model, clients = small_problem(normalization="batch" if recompute else "group")
    chosen = FederatedTraining(**{"rounds": ROUNDS, "batch_size": 8} | ALGORITHMS[algorithm])
    rest = {"objective": CrossEntropy("shift-flip", 8), "after_round": measure} | rest
    objective = rest.pop("objective")
    execution = Execution(engine=engine, workers=2)
    state = federated_training(
        model, clients, objective, chosen, seed=0, stage="s", execution=execution, recompute=recompute, **rest
    )
    return state, model


@cache
def in_one_piece(algorithm: str, engine: str) -> tuple[TrainingState, nn.Module]:
    return train(algorithm, engine)


def assert_the_same(result: tuple[TrainingState, nn.Module], expected: tuple[TrainingState, nn.Module]) -> None:
    """Every bit of two trainings' states and models is equal."""
    (state, model), (other, other_model) = result, expected
    assert bits(state.weights) == bits(other.weights)
    assert bits(state.statistics) == bits(other.statistics)
    assert (state.averaged is None) == (other.averaged is None)
    assert bits(state.result()) == bits(other.result())
    assert {name: bits(tensor) for name, tensor in state.memory.items()} == {
        name: bits(tensor) for name, tensor in other.memory.items()
    }
    assert repr(state.history) == repr(other.history)  # NaN is not equal to itself
    assert state.rounds_done == other.rounds_done == len(state.history) == ROUNDS
    for one, another in zip(model.state_dict().values(), other_model.state_dict().values(), strict=True):
        assert bits(one) == bits(another)


def asks(monkeypatch, after: int) -> None:
    """A signal asks to stop just before somebody looks for the `after`-th time."""
    monkeypatch.undo()
    looks, look = [0], interruption.check

    def check() -> None:
        looks[0] += 1
        if looks[0] >= after:
            interruption._asked[:] = ["SIGTERM"]
        look()

    monkeypatch.setattr(interruption, "_asked", [])
    monkeypatch.setattr(interruption, "check", check)


@pytest.mark.parametrize(("algorithm", "engine"), CASES)
def test_interrupted_between_any_batches_it_ends_at_the_same_bits(algorithm, engine, tmp_path, monkeypatch):
    rounds_kept = []
    for after in (1, 6, 17, 11):
        asks(monkeypatch, after)
        try:
            train(algorithm, engine, checkpoints=Checkpoints(tmp_path, WHEN_ASKED))
        except Interrupted:
            rounds_kept.append(Checkpoints(tmp_path).units())
    monkeypatch.undo()
    assert rounds_kept[0] == 0  # nothing was done yet, and nothing is kept
    assert rounds_kept == sorted(rounds_kept)
    assert rounds_kept[-1] > 0
    result = train(algorithm, engine, checkpoints=Checkpoints(tmp_path, WHEN_ASKED))
    assert_the_same(result, in_one_piece(algorithm, engine))


class Killed(BaseException):
    """Nobody is asked, and nobody can keep anything."""


PACED = [(*case, EVERY_OTHER) for case in CASES] + [(name, "sequential", EVERY_ROUND) for name in ALGORITHMS]


@pytest.mark.parametrize(("algorithm", "engine", "pace"), PACED)
def test_killed_after_any_round_it_ends_at_the_same_bits(algorithm, engine, pace, tmp_path):
    for fatal in range(1, ROUNDS + 1):

        def die(state: TrainingState, fatal: int = fatal) -> None:
            measure(state)
            if state.rounds_done == fatal:
                raise Killed

        with pytest.raises(Killed):
            train(algorithm, engine, checkpoints=Checkpoints(tmp_path, pace), after_round=die)
        assert Checkpoints(tmp_path).units() == (fatal - 1) // pace.rounds * pace.rounds
    result = train(algorithm, engine, checkpoints=Checkpoints(tmp_path, pace))
    assert_the_same(result, in_one_piece(algorithm, engine))


def stop_after(rounds: int):
    def stop(state: TrainingState) -> None:
        measure(state)
        if state.rounds_done == rounds:
            interruption._asked[:] = ["SIGINT"]

    return stop


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_begun_by_one_engine_and_gone_on_with_by_another_it_ends_at_the_same_bits(algorithm, tmp_path, monkeypatch):
    for engine, rounds in (("processes", 1), ("sequential", 3)):
        monkeypatch.setattr(interruption, "_asked", [])
        with pytest.raises(Interrupted):
            train(algorithm, engine, checkpoints=Checkpoints(tmp_path, WHEN_ASKED), after_round=stop_after(rounds))
        assert Checkpoints(tmp_path).units() == rounds
    monkeypatch.undo()
    result = train(algorithm, "processes", checkpoints=Checkpoints(tmp_path, WHEN_ASKED))
    assert_the_same(result, in_one_piece(algorithm, "sequential"))


def test_an_interruption_keeps_the_rounds_that_were_not_due_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "_asked", [])
    with pytest.raises(Interrupted):
        train("fedadam", "sequential", checkpoints=Checkpoints(tmp_path, Pace(2, None)), after_round=stop_after(3))
    assert Checkpoints(tmp_path).units() == 3
    assert len(list(tmp_path.iterdir())) == 1  # the one of two rounds is gone


@dataclass(frozen=True)
class Untouched(CrossEntropy):
    """Nobody may train."""

    def losses(self, model, batch, draws):
        raise AssertionError


@pytest.mark.parametrize("engine", ENGINES)
def test_a_finished_checkpoint_is_not_trained_further(engine, tmp_path):
    train("scaffold", engine, checkpoints=Checkpoints(tmp_path, EVERY_ROUND))
    kept = os.listdir(tmp_path)
    seen = []
    result = train(
        "scaffold",
        engine,
        checkpoints=Checkpoints(tmp_path, EVERY_ROUND),
        objective=Untouched("none", 8),
        after_round=seen.append,
    )
    assert_the_same(result, in_one_piece("scaffold", engine))
    assert seen == []
    assert os.listdir(tmp_path) == kept


def test_without_a_usable_checkpoint_it_starts_again_and_ends_at_the_same_bits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(interruption, "_asked", [])
    with pytest.raises(Interrupted):
        train("fedadam", "sequential", checkpoints=Checkpoints(tmp_path, WHEN_ASKED), after_round=stop_after(2))
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = train("fedadam", "sequential", checkpoints=Checkpoints(tmp_path, WHEN_ASKED))
    assert_the_same(result, in_one_piece("fedadam", "sequential"))
    assert "is damaged" in caplog.text


@dataclass(frozen=True)
class Signalling(CrossEntropy):
    """Sends this process a real signal in its 20th batch."""

    batches: list = field(default_factory=list)

    def losses(self, model, batch, draws):
        self.batches.append(len(batch))
        if len(self.batches) == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().losses(model, batch, draws)


def test_a_real_signal_is_heard_after_the_batch(tmp_path):
    objective = Signalling("shift-flip", 8)
    with interruption.listening(), pytest.raises(Interrupted, match="SIGTERM"):
        train("fedadam", "sequential", checkpoints=Checkpoints(tmp_path, WHEN_ASKED), objective=objective)
    assert len(objective.batches) == 20
    assert Checkpoints(tmp_path).units() > 0
    result = train("fedadam", "sequential", checkpoints=Checkpoints(tmp_path, WHEN_ASKED))
    assert_the_same(result, in_one_piece("fedadam", "sequential"))
