"""Ctrl-C, and a scheduler's SIGTERM: a run keeps what it has, says so, leaves with its own exit code, and goes on."""

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsyn.interruption import EXIT_CODE
from tests.e2e.killing import (
    COMMAND,
    PLAIN,
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

pytestmark = pytest.mark.e2e

INTERRUPTIONS = {
    "Ctrl-C in a terminal, while autoencoders are trained": ("autoencoder", signal.SIGINT, True, "sequential"),
    "SIGTERM to all processes, while workers train denoisers": ("denoiser", signal.SIGTERM, True, "processes"),
    "SIGTERM to the run, while it generates": ("synthesis", signal.SIGTERM, False, "sequential"),
}


@dataclass(frozen=True)
class Interrupted:
    """What an interrupted run left."""

    name: str
    status: int | None
    said: str
    processes: list[str]
    kept: int


@pytest.fixture(scope="module")
def interrupted(reference, tmp_path_factory) -> tuple[Path, dict[str, Interrupted], list[str]]:
    """`fedsyn run`, interrupted in each of these ways, one after the other, and at last left to its end."""
    folder = tmp_path_factory.mktemp("interrupted")
    store, outcomes = folder / "store", dict[str, Interrupted]()
    copy_until(reference.store, store, "autoencoder")
    for index, (name, (stage, number, group, engine)) in enumerate(INTERRUPTIONS.items()):
        before = kept(store, stage)
        command = [*COMMAND, *options(store, engine, **{"execution.workers": 2})]
        with Run(command, folder / f"log-{index}", PREFECT_HOME=str(folder / "prefect")) as run:
            assert until(lambda stage=stage, before=before: kept(store, stage) > before), run.said()
            run.signal(number, group=group)
            status = run.ended()
            left = run.gone()
            outcomes[name] = Interrupted(signal.Signals(number).name, status, run.said(), left, kept(store, stage))
    with Run(command, folder / "log", PREFECT_HOME=str(folder / "prefect")) as run:
        assert run.ended() == 0, run.said()
        left = run.gone()
    return store, outcomes, left


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_interrupted_command_says_so_and_leaves_with_its_exit_code(name, interrupted):
    outcome = interrupted[1][name]
    assert outcome.status == EXIT_CODE, outcome.said
    assert f"{outcome.name}: stopping after this batch; once more to stop at once" in outcome.said
    assert f"stopped by {outcome.name}; what is done is kept, and the same command goes on from there" in outcome.said
    assert "Traceback" not in outcome.said


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_interrupted_command_keeps_a_checkpoint_and_no_process(name, interrupted):
    outcome = interrupted[1][name]
    assert outcome.kept > 0
    assert outcome.processes == []


def test_an_interrupted_command_goes_on_to_the_same_bytes(interrupted, reference):
    store, _, left = interrupted
    made = attempts(store)
    assert {name: made[name] for name in ("autoencoder", "denoiser", "synthesis", "retrain")} == {
        "autoencoder": 2,
        "denoiser": 2,
        "synthesis": 2,
        "retrain": 1,
    }
    assert differing(store, reference.store) == []
    assert lasting(store) == lasting(reference.store)
    assert leftovers(store) == []
    assert left == []


def test_a_second_signal_ends_the_run_and_its_workers_at_once(reference, tmp_path):
    """Both signals reach the run before it can answer the first."""
    store, command = tmp_path / "store", [*PLAIN, *options(tmp_path / "store", "processes")]
    copy_until(reference.store, store, "denoiser")
    with Run(command, tmp_path / "log") as run:
        assert until(lambda: kept(store, "denoiser")), run.said()
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            run.signal(number)
        assert run.ended() == 128 + signal.SIGTERM, run.said()
        assert run.gone() == []
    with Run(command, tmp_path / "again") as run:
        assert run.outcome()["computed"] == ["denoiser", "synthesis", "retrain", "quality", "report"]
    assert attempts(store)["denoiser"] == 2
    assert differing(store, reference.store) == []
