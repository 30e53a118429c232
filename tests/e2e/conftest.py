"""What every test of interruptions compares with: one run that nobody interrupted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsyn.artifacts import Store
from tests.e2e.killing import Server, options
from tests.once import made_once


@dataclass(frozen=True)
class Reference:
    """The store of an uninterrupted run on the small configuration, and the seconds that each stage took."""

    store: Path
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def reference(server, tmp_path_factory) -> Reference:
    def make(folder: Path) -> None:
        folder.mkdir()
        with server.start(options(folder / "store"), folder / "log") as run:
            assert run.ended() == 0, run.said()

    store = made_once(tmp_path_factory, "reference", make) / "store"
    return Reference(store, {manifest.stage: manifest.seconds for manifest in Store(store).manifests()})
