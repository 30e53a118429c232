"""Workers of `processes` and `ray` that really die or fail; Ray against the loop.

Workers whose run is killed, and scripts that lack their main guard: see `tests.e2e`.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fedsyn.config import Execution, FederatedTraining
from fedsyn.federated.classification import CrossEntropy
from fedsyn.federated.engines.shared import SharedMemory
from tests.federated.problems import PLAIN, HalfSquare, OneWeight, clients_with, small_problem, train, weights_after

# --- workers that die ---


@dataclass(frozen=True)
class Deadly(HalfSquare):
    """Kills the worker that trains the client with target 5, as often as `lives` says; never the process itself."""

    marks: Path
    lives: int
    own: int

    def losses(self, model, batch, draws):
        deaths = len(list(self.marks.iterdir()))
        if os.getpid() != self.own and deaths < self.lives and 5.0 in batch[0]:
            (self.marks / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(model, batch, draws)


TARGETS = ([1.0], [2.0] * 3, [5.0] * 2, [4.0] * 5)


def train_deadly(tmp_path: Path, lives: int, engine: str):
    from fedsyn.federated.training import federated_training

    objective = Deadly(tmp_path, lives, os.getpid())
    execution = Execution(engine=engine, workers=2)
    return federated_training(
        OneWeight(), clients_with(*TARGETS), objective, PLAIN, seed=0, stage="classifier", execution=execution
    )


@pytest.mark.parametrize(("engine", "lives"), [("processes", 1), ("processes", 2), ("ray", 1)])
def test_clients_of_a_dead_worker_are_trained_again(engine, lives, tmp_path, caplog):
    state = train_deadly(tmp_path, lives, engine)
    assert len(list(tmp_path.iterdir())) == lives  # it did die
    assert torch.equal(state.weights, train(PLAIN, *TARGETS).weights)
    assert "is gone" in caplog.text


def test_a_client_that_kills_every_worker_is_named(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"classifier: 3 workers died while they trained client 2: killed from outside; memory"
    ):
        train_deadly(tmp_path, 99, "processes")
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("fedsyn-")]


@dataclass(frozen=True)
class Faulty(HalfSquare):
    def losses(self, model, batch, draws):
        raise KeyError("no such thing")


def test_an_error_in_a_worker_is_told_with_its_traceback():
    with pytest.raises(RuntimeError, match=r"(?s)naive: a worker failed.*no such thing"):
        weights_after(OneWeight(), clients_with([1.0], [2.0]), Faulty(), PLAIN, "processes", workers=2)


def test_shared_tensors_are_seen_by_all_and_leave_nothing_behind():
    memory = SharedMemory()
    address = memory.share(torch.arange(6.0).reshape(2, 3))
    one, other = address.open(), address.open()
    one[1, 2] = 99.0
    assert other.tolist() == [[0, 1, 2], [3, 4, 99]]
    assert memory.allocate((0,), torch.float64).open().shape == (0,)
    memory.close()
    assert other[1, 2] == 99.0  # who has it open keeps it
    assert not Path(address.path).exists()


# --- Ray ---


def test_ray_is_bit_equal_to_the_loop():
    """With SCAFFOLD, which sends each client's correction, too."""
    chosen = FederatedTraining(rounds=2, batch_size=8, momentum=0.0, server={"algorithm": "scaffold"})
    results = []
    for engine in ("sequential", "ray"):
        model, clients = small_problem()
        results.append(weights_after(model, clients, CrossEntropy("shift", 8), chosen, engine, workers=2))
    assert torch.equal(*results)


def in_a_fresh_process(code: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    return outcome.stdout + outcome.stderr


RAY_RUN = """
import sys
{before}
from tests.federated.problems import PLAIN, train
from fedsyn.config import Execution
try:
    train(PLAIN, [1.0], [2.0], execution=Execution(engine="ray", **{options}))
except ValueError as error:
    print("refused:", error)
"""


def test_ray_that_is_not_installed_is_said_before_any_work():
    output = in_a_fresh_process(RAY_RUN.format(before="sys.modules['ray'] = None", options={}))
    assert "refused: execution.engine 'ray' needs Ray: pip install 'fedsyn[ray]', or use 'processes'" in output


def test_a_ray_cluster_that_does_not_answer_is_named():
    output = in_a_fresh_process(RAY_RUN.format(before="", options={"ray_address": "127.0.0.1:1"}))
    assert "refused: execution.ray_address: no Ray cluster answers at '127.0.0.1:1'" in output
