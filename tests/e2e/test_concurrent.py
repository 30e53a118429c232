"""Several runs of one configuration at once: each stage is computed by one of them, and none waits for the dead."""

import re
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from fedsyn.artifacts.lock import Lock
from fedsyn.interruption import EXIT_CODE
from tests.e2e.killing import (
    ROOT,
    Run,
    attempts,
    copy_until,
    differing,
    kept,
    lasting,
    leftovers,
    options,
    until,
    working,
)
from tests.e2e.tiny import STAGE_NAMES

pytestmark = pytest.mark.e2e
TAKEOVER = 5.0
"""Seconds within which a waiter goes on in the place of a dead run."""


def test_four_runs_at_once_compute_each_stage_once_and_end_with_the_same_manifests(server, reference, tmp_path):
    number, store = 4, tmp_path / "store"
    with ExitStack() as stack:
        runs = [stack.enter_context(server.start(options(store), tmp_path / f"log-{index}")) for index in range(number)]
        outcomes = [run.outcome() for run in runs]
        said = "".join(run.said() for run in runs)
    assert Counter(stage for outcome in outcomes for stage in outcome["computed"]) == Counter(STAGE_NAMES), said
    assert [outcome["manifests"] for outcome in outcomes] == [outcomes[0]["manifests"]] * number
    assert attempts(store) == dict.fromkeys(STAGE_NAMES, 1)
    assert differing(store, reference.store) == []
    assert lasting(store) == lasting(reference.store)
    assert leftovers(store) == []
    assert "WARNING" not in said


def test_a_waiting_run_takes_over_from_a_killed_one_within_seconds_and_said_whom_it_waited_for(
    server, reference, tmp_path
):
    """The killed run is stopped before, so that the others surely find it at work."""
    store = tmp_path / "store"
    copy_until(reference.store, store, "denoiser")
    with ExitStack() as stack:

        def start(name: str) -> Run:
            return stack.enter_context(server.start(options(store), tmp_path / name))

        first = start("first")
        assert until(lambda: kept(store, "denoiser") >= 3), first.said()
        first.signal(signal.SIGSTOP)
        place = working(store, first.pid)
        assert place is not None
        holder = Lock(place / "lock").holder()
        assert holder is not None
        assert (holder.host, holder.pid) == (socket.gethostname(), first.pid)
        waiting = [start(f"waiting-{index}") for index in range(3)]
        message = f"denoiser/{place.name.split('-')[1]}: held by {holder}; waiting"
        assert re.search(r"held by process \d+ on \S+ \(since [\d-]+ [\d:]+ UTC\); waiting$", message)
        for run in waiting:
            assert until(lambda run=run: message in run.said(), 120), run.said()

        leaving = waiting.pop()
        leaving.signal(signal.SIGTERM)
        assert leaving.ended() == EXIT_CODE, leaving.said()

        first.kill()
        killed = time.monotonic()
        others = {run.pid for run in waiting}
        assert until(lambda: getattr(Lock(place / "lock").holder(), "pid", None) in others, TAKEOVER)
        print(f"taken over after {time.monotonic() - killed:.2f} s")
        outcomes = [run.outcome() for run in waiting]
    computed = sorted(stage for outcome in outcomes for stage in outcome["computed"])
    assert computed == sorted(STAGE_NAMES[STAGE_NAMES.index("denoiser") :])
    assert outcomes[0]["manifests"] == outcomes[1]["manifests"]
    assert attempts(store)["denoiser"] == 2
    assert differing(store, reference.store) == []
    assert leftovers(store) == []


def test_a_script_that_lacks_its_main_guard_is_told_so_and_does_not_wait_for_itself(reference, tmp_path):
    """Its workers import it, and so run it: each would wait for the run that waits for its workers."""
    store, script = tmp_path / "store", tmp_path / "script.py"
    copy_until(reference.store, store, "denoiser")
    arguments = options(store, "processes", **{"execution.workers": 1})
    script.write_text(f"from tests.e2e.plain import main\nmain({arguments!r})\n", encoding="utf-8")
    with Run([sys.executable, str(script)], tmp_path / "log", PYTHONPATH=str(ROOT)) as run:
        assert run.ended() not in (0, None)
        assert "must do so under `if __name__ == '__main__':`" in run.said()
        assert run.gone() == []
