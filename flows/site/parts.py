"""The processes of a site: commands of Prefect with a log each, and workers, whose runs outlive them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

ROOT = Path(__file__).parents[2]

START = 180.0
"""Seconds that a part may take to start; the first start makes a database."""

STOP = 40.0
"""Seconds that a part may take to stop: longer than Prefect waits for a run to leave."""


class SiteError(Exception):
    """The site cannot be started, or a part of it has ended; the message says which, and where its log is."""


class Part:
    """A process of the site, with a log of its own."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self.log = PREFECT_HOME.value() / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *command],
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who stop the parts in order
            )

    def check(self) -> None:
        """
        Raises:
            SiteError: the process has ended.
        """
        if self.has_ended():
            last = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise SiteError(f"{self.ending()}:\n{last}")

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self.process.poll() is not None

    def ending(self) -> str:
        """How it ended, and where its log is."""
        return f"{self.name} ended with status {self.process.returncode} ({self.log})"

    def wait_until(self, true: Callable[[], bool]) -> None:
        """
        Raises:
            SiteError: the process has ended, or it takes too long.
        """
        end = time.monotonic() + START
        while not true():
            self.check()
            if time.monotonic() > end:
                raise SiteError(f"{self.name} has not started within {START:.0f} s; its log is {self.log}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Ask the process to end, and end it and what it has started if it does not."""
        if not self.has_ended():
            self.process.terminate()
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Worker(Part):
    """A worker, and the runs that it carries out: processes in sessions of their own, which outlive it."""

    asked = False

    def stop(self) -> None:
        """Let the runs stop, which keeps what they have, then end the worker."""
        self.ask_runs()
        end = time.monotonic() + STOP
        while (left := self.runs()) and time.monotonic() < end:
            time.sleep(0.2)
        if not self.has_ended():
            self.process.kill()
            self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask_runs(self) -> None:
        """Ask the runs to stop, once: to be asked twice ends a run at once. The worker stands still meanwhile: asked to
        stop it would kill them, and without it they cannot write their logs."""
        if self.asked:
            return
        self.asked = True
        if not self.has_ended():
            os.kill(self.process.pid, signal.SIGSTOP)
        for pid in self.runs():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def runs(self) -> list[int]:
        """The processes that carry out its runs, told by what the worker gives them to know."""
        marks = {f"PREFECT__WORKER_NAME={self.name}".encode(), f"PREFECT_API_URL={PREFECT_API_URL.value()}".encode()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it is over, or another user's
                if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                    found.append(int(folder.name))
        return found
