"""What every test of interruptions compares with: one run that nobody interrupted."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsyn.artifacts import Store
from tests.e2e.killing import PLAIN, Run, Server, options


@dataclass(frozen=True)
class Reference:
    """The store of an uninterrupted run on the small configuration, and the seconds that each stage took."""

    store: Path
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Reference:
    """Made once, whichever of the processes that share out the tests comes first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    store = folder / "reference"
    with (folder / "reference.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not store.exists():
            with Run([*PLAIN, *options(folder / "begun")], folder / "reference.log") as run:
                assert run.ended() == 0, run.said()
            (folder / "begun").rename(store)
    return Reference(store, {manifest.stage: manifest.seconds for manifest in Store(store).manifests()})


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
