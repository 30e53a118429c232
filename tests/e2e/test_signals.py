"""Ctrl-C, and a scheduler's SIGTERM: a run keeps what it has, says so, leaves with its own exit code, and goes on.

After kill -9 the command goes on, too.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsyn.interruption import EXIT_CODE
from tests.e2e.killing import (
    COMMAND,
    Run,
    attempts,
    copy_until,
    differing,
    kept,
    lasting,
    leftovers,
    options,
    until,
)
from tests.e2e.tiny import STAGE_NAMES

pytestmark = pytest.mark.e2e

INTERRUPTIONS = {
    "Ctrl-C in a terminal, while autoencoders are trained": ("autoencoder", signal.SIGINT, True, "sequential"),
    "SIGTERM to all processes, while workers train denoisers": ("denoiser", signal.SIGTERM, True, "processes"),
    "SIGTERM to the run, while it generates": ("synthesis", signal.SIGTERM, False, "sequential"),
}
KILL = "kill -9 of the run, while classifiers are trained"
"""Prefect's server must not outlive the run, which cannot end it any more."""

ENDINGS = {KILL: ("classifier", signal.SIGKILL, False, "sequential")} | INTERRUPTIONS


@dataclass(frozen=True)
class Interrupted:
    """What an interrupted run left."""

    name: str
    status: int | None
    said: str
    processes: list[str]
    kept: int


@pytest.fixture(scope="module")
def interrupted(server, reference, prefect_home, tmp_path_factory) -> tuple[Path, dict[str, Interrupted]]:
    """`fedsyn run`, ended in each of these ways, one after the other; at last a plain run is left to its end."""
    folder = tmp_path_factory.mktemp("interrupted")
    store, outcomes, home = folder / "store", dict[str, Interrupted](), prefect_home(folder / "prefect")
    copy_until(reference.store, store, "classifier")
    for index, (name, (stage, number, group, engine)) in enumerate(ENDINGS.items()):
        before = kept(store, stage)
        command = [*COMMAND, *options(store, engine, **{"execution.workers": 2})]
        with Run(command, folder / f"log-{index}", PREFECT_HOME=str(home)) as run:
            assert until(lambda stage=stage, before=before: kept(store, stage) > before), run.said()
            run.signal(number, group=group)
            status = run.ended()
            left = run.gone()
            outcomes[name] = Interrupted(signal.Signals(number).name, status, run.said(), left, kept(store, stage))
    with server.start(options(store), folder / "log") as run:
        assert run.ended() == 0, run.said()
    return store, outcomes


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_interrupted_command_says_so_and_leaves_with_its_exit_code(name, interrupted):
    outcome = interrupted[1][name]
    assert outcome.status == EXIT_CODE, outcome.said
    assert f"{outcome.name}: stopping after this batch; once more to stop at once" in outcome.said
    assert f"stopped by {outcome.name}; what is done is kept, and the same command goes on from there" in outcome.said
    assert "Traceback" not in outcome.said


@pytest.mark.parametrize("name", ENDINGS)
def test_a_command_that_is_ended_keeps_a_checkpoint_and_no_process(name, interrupted):
    outcome = interrupted[1][name]
    assert outcome.kept > 0
    assert outcome.processes == []


def test_a_killed_command_is_ended_by_that(interrupted):
    outcome = interrupted[1][KILL]
    assert outcome.status == -signal.SIGKILL, outcome.said


def test_a_command_that_was_ended_goes_on_to_the_same_bytes(interrupted, reference):
    store, _ = interrupted
    resumed = ("classifier", "autoencoder", "denoiser", "synthesis")
    assert attempts(store) == dict.fromkeys(STAGE_NAMES, 1) | dict.fromkeys(resumed, 2)
    assert differing(store, reference.store) == []
    assert lasting(store) == lasting(reference.store)
    assert leftovers(store) == []


def test_a_second_signal_ends_the_run_and_its_workers_at_once(server, reference, tmp_path):
    """Both signals reach the run before it can answer the first."""
    store, arguments = tmp_path / "store", options(tmp_path / "store", "processes")
    copy_until(reference.store, store, "denoiser")
    with server.start(arguments, tmp_path / "log") as run:
        assert until(lambda: kept(store, "denoiser")), run.said()
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            run.signal(number)
        assert run.ended() == 128 + signal.SIGTERM, run.said()
        assert run.gone() == []
    with server.start(options(store), tmp_path / "again") as run:
        assert run.outcome()["computed"] == STAGE_NAMES[STAGE_NAMES.index("denoiser") :]
    assert attempts(store)["denoiser"] == 2
    assert differing(store, reference.store) == []
