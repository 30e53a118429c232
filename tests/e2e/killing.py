"""Runs that are real processes, ways to end them, and what they must leave. Shared with `tests.soak`."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsyn.artifacts import Store
from fedsyn.artifacts.checkpoints import Checkpoints
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.artifacts.work import Record
from tests.e2e.tiny import OVERRIDES, STAGE_NAMES
from tests.processes import with_environment

ROOT = Path(__file__).parents[2]
PLAIN = [sys.executable, "-m", "tests.e2e.plain"]
COMMAND = [str(Path(sys.executable).with_name("fedsyn")), "run"]
LONG_ENOUGH = 500.0
"""Seconds that no run of a test takes."""

SMALL = OVERRIDES | {
    "classifier.rounds": 12,
    "classifier.local_steps": 3,
    "autoencoder.rounds": 12,
    "autoencoder.local_steps": 3,
    "denoiser.rounds": 12,
    "denoiser.local_steps": 3,
    "synthesis.per_class": 30,
    "synthesis.steps": 5,
    "synthesis.batch_size": 32,
}
OFTEN = {"execution.checkpoint_rounds": 1, "execution.checkpoint_seconds": 0}
TRAININGS = ("classifier", "autoencoder", "denoiser", "retrain")


def options(store: Path, engine: str = "sequential", **more: Any) -> list[str]:
    """The options of a run on the small configuration that keeps every round and every batch; `more` are settings."""
    settings = [f"--set={field}={value}" for field, value in (SMALL | OFTEN | more).items()]
    return ["--store", str(store), "--device", "cpu", "--threads", "1", "--engine", engine, *settings]


def new_mark() -> str:
    """An entry of an environment that tells one run's processes from all others."""
    return f"FEDSYN_TEST_RUN={uuid.uuid4().hex}"


class Run:
    """A run: a process in a session of its own, whose words go into a file. Killed when the context ends."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self.log, self.mark = log, new_mark()
        name, value = self.mark.split("=")
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {name: value, "COLUMNS": "120"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.pid, self.began = self._process.pid, time.time()

    def ended(self, seconds: float = LONG_ENOUGH) -> int | None:
        """The exit status, negative for a signal; None if it still runs after so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def kill(self, *, alone: bool = False) -> None:
        """End the run and all of its group, or itself alone, at once. One that is over has given its number away."""
        if self.ended(0) is None:
            with suppress(ProcessLookupError):
                (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)
            self.ended()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the run's own process, or to all of its group."""
        (os.killpg if group else os.kill)(self.pid, number)

    def said(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def outcome(self) -> dict[str, Any]:
        """What a plain run that came to its end says: the stages that it `computed`, and all `manifests`."""
        assert self.ended() == 0, self.said()
        return json.loads(self.said().splitlines()[-1])

    def processes(self) -> list[str]:
        """The command lines of all living processes that come from this run, whatever group or session they are in."""
        found = []
        for pid in with_environment(self.mark):
            with suppress(OSError):  # it has just ended
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def gone(self, seconds: float = 10) -> list[str]:
        """What is left of its processes after so many seconds: nothing, if all is well."""
        until(lambda: not self.processes(), seconds)
        return self.processes()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class ForkedRun(Run):
    """A run that is forked by a server. What it starts has its mark in the environment, it has the server's."""

    def __init__(self, server: "Server", arguments: list[str], log: Path) -> None:
        log.touch()
        self.log, self.mark, self._server = log, new_mark(), server
        self.pid, self.began = server.fork(self.mark, [*arguments, "--log", str(log)]), time.time()
        self._status: int | None = None

    def ended(self, seconds: float = LONG_ENOUGH) -> int | None:
        if self._status is None:
            self._status = self._server.status(self.pid, seconds)
        return self._status

    def processes(self) -> list[str]:
        itself = [f"the run, process {self.pid}"] if self.ended(0) is None else []
        return itself + super().processes()


class Server:
    """A process that has imported all that a run needs, and forks runs."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([*PLAIN, "--serve"], cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)
        self._ended: dict[int, int] = {}
        assert self._process.stdout.readline() == b"ready\n"

    def start(self, arguments: list[str], log: Path) -> ForkedRun:
        return ForkedRun(self, arguments, log)

    def fork(self, mark: str, arguments: list[str]) -> int:
        """The process of a new run."""
        name, value = mark.split("=")
        self._process.stdin.write(json.dumps([{name: value}, arguments]).encode() + b"\n")
        while (pid := self._listen()) is None:
            pass
        return pid

    def status(self, pid: int, seconds: float) -> int | None:
        """The exit status of a run; None if it still runs after so many seconds."""
        end = time.monotonic() + seconds
        while (
            pid not in self._ended and select.select([self._process.stdout], [], [], max(0, end - time.monotonic()))[0]
        ):
            self._listen()
        return self._ended.get(pid)

    def _listen(self) -> int | None:
        """Take in a line: how a run has ended, or which has started, whose process this gives."""
        word, pid, *status = self._process.stdout.readline().split()
        if word == b"ended":
            self._ended[int(pid)] = int(status[0])
            return None
        self._ended.pop(int(pid), None)  # of a run before, which had the same number
        return int(pid)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True)
class Kill:
    """A kill: after how many seconds of a run, and what it hit."""

    delay: float
    stage: str | None
    """None: no stage was in progress."""
    kept: int
    """Rounds or images of the stage that a checkpoint held at that time."""
    lost: float
    """Seconds of the stage's work since it was begun or last kept."""


def kill_after(run: Run, delay: float, store: Path, *, alone: bool = False) -> Kill | None:
    """Kill a run (or its own process alone) after so many seconds; None if it has come to its end by then."""
    status = run.ended(delay)
    if status is not None:
        assert status == 0, f"exit status {status}:\n{run.said()}"
        return None
    elapsed = time.time() - run.began
    run.kill(alone=alone)
    if run.ended() == 0:
        return None
    stage = working(store, run.pid)
    if stage is None:
        return Kill(elapsed, None, 0, 0.0)
    checkpoints, record = Checkpoints(stage / "checkpoints"), Record.read(stage)
    begun = record.attempts[-1].started.timestamp() if record else 0.0
    newest = max(run.began, begun, checkpoints.newest() or 0.0)
    return Kill(elapsed, stage.name.split("-")[0], checkpoints.units(), max(0.0, run.began + elapsed - newest))


def working(store: Path, pid: int) -> Path | None:
    """The place of the stage that a process has in progress, or had when it died; None where there is none."""
    for lock in (store / "in_progress").glob("*/lock"):
        holder = Lock(lock).holder()
        if holder is not None and holder.pid == pid and not lock.parent.name.startswith("run-"):
            return lock.parent
    return None


def kept(store: Path, stage: str) -> int:
    """Units of a stage in progress that checkpoints hold."""
    return max((Checkpoints(folder).units() for folder in store.glob(f"in_progress/{stage}-*/checkpoints")), default=0)


def until(true: Any, seconds: float = LONG_ENOUGH, every: float = 0.01) -> bool:
    """Whether something comes true within so many seconds; looked at `every` so often."""
    end = time.monotonic() + seconds
    while not (outcome := true()) and time.monotonic() < end:
        time.sleep(every)
    return bool(outcome)


def copy_until(store: Path, other: Path, stage: str) -> None:
    """Copy what another store lacks of the stages before `stage`, so that a run of it begins with that one."""
    for name in STAGE_NAMES[: STAGE_NAMES.index(stage)]:
        if not (other / name).exists():
            shutil.copytree(store / name, other / name)


def everything(store: Path) -> dict[str, bytes]:
    """Every file of a store but the manifests and what is in progress."""
    names = [path.relative_to(store) for path in store.rglob("*") if path.is_file()]
    names = [name for name in names if name.name != "manifest.json" and name.parts[0] != "in_progress"]
    return {str(name): (store / name).read_bytes() for name in names}


def differing(store: Path, reference: Path) -> list[str]:
    """The files that two stores have not in common, to the byte."""
    ours, theirs = everything(store), everything(reference)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def lasting(store: Path) -> dict[str, str]:
    """The manifests by stage as JSON, where NaN equals NaN, without what tells one run from another."""
    manifests = {manifest.stage: manifest for manifest in Store(store).manifests()}
    return {
        name: manifests[name].model_dump_json(exclude={"attempts", "seconds", "finished"})
        for name in STAGE_NAMES
        if name in manifests
    }


def attempts(store: Path) -> dict[str, int]:
    """How many runs worked on each stage's artifact."""
    return {manifest.stage: len(manifest.attempts) for manifest in Store(store).manifests()}


def leftovers(store: Path) -> list[str]:
    """What lies in progress or in quarantine where nothing should; dead runs' notes may: they are cleaning's."""
    places = [path for path in (store / "in_progress").iterdir() if path.name != "gate"]
    dead = [path for path in places if path.name.startswith("run-") and not is_held(path / "lock")]
    return sorted(str(path) for path in {*places, *store.glob("quarantine")} - set(dead))
