"""Machines that share a bucket, each with a cache of its own; processes on them, quick to start and real to kill."""

import importlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from subprocess import Popen

from fedsyn.artifacts import Artifact
from fedsyn.artifacts.files import list_files
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.remote import RemoteStore
from tests.handmade import KEY

PLACE = f"stage/{KEY}"
IN_PROGRESS = f"in_progress/stage-{KEY}"


def machine(url: str, cache: Path | str, limit: int = 2**30, lease: float = 1.0) -> RemoteStore:
    """A machine's view of the store below `url`."""
    return RemoteStore(Objects(url), Path(cache), limit, lease)


def files_of(artifact: Artifact) -> dict[str, bytes]:
    """All files of a local copy, the manifest too."""
    return {name: (artifact.root / name).read_bytes() for name in [*list_files(artifact.root), "manifest.json"]}


class Process:
    """A process that was started to do something and say things."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.pid: int = self.said()

    def said(self, seconds: float = 60.0):
        """The next thing that it says."""
        assert self._pipe.poll(seconds), "it says nothing"
        return self._pipe.recv()

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(EOFError, ConnectionError):
            while True:
                self._pipe.recv()


@contextmanager
def start(nurse: Popen, work: Callable[..., object], *arguments: object) -> Iterator[Process]:
    """A process that does `work(say, *arguments)`; killed at the end, unless it is over."""
    with Listener(family="AF_UNIX") as listener:
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        order = [
            work.__module__,
            work.__name__,
            [str(argument) for argument in arguments],
            listener.address,
            environment,
        ]
        nurse.stdin.write(json.dumps(order) + "\n")
        nurse.stdin.flush()
        with listener.accept() as pipe:
            process = Process(pipe)
            try:
                yield process
            finally:
                process.kill()


def nurse() -> None:
    """The process that processes are forked from: what takes long to import is there already."""
    importlib.import_module("s3fs")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with suppress(EOFError):
        while True:
            module, name, arguments, address, environment = json.loads(input())
            if os.fork() == 0:
                os.environ.update(environment)
                with Client(address) as pipe:
                    pipe.send(os.getpid())
                    getattr(importlib.import_module(module), name)(pipe.send, *arguments)
                os._exit(0)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.01)
