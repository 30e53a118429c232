"""Settings of every test: one thread, so that numbers and times do not depend on the machine's load, and a fresh home
for Prefect, which reads its settings once, when it is imported."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from flows.settings import apply
from tests.once import made_once

HOME = tempfile.TemporaryDirectory(prefix="prefect-")  # deleted when the process ends
os.environ |= {"PREFECT_HOME": HOME.name, "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
apply(os.environ)

torch.set_num_threads(1)
settings.register_profile("fedsyn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedsyn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first, the longest file before all: with two workers (one file each at a time) none is left alone with
    it, and it needs none of what the others make once and wait for."""
    items.sort(key=lambda item: (item.get_closest_marker("ui") is None, "e2e" not in item.path.parts))


@pytest.fixture(autouse=True)
def _one_thread():
    """A stage sets the threads of the whole process; the next test starts with one again."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory) -> Callable[[Path], Path]:
    """Make a folder a home of Prefect that somebody has used before: a first start makes a database for ten seconds."""

    def make(home: Path) -> None:
        home.mkdir()
        upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(upgrade, env=os.environ | {"PREFECT_HOME": str(home)}, check=True, capture_output=True)

    empty = made_once(tmp_path_factory, "prefect", make)
    return lambda home: Path(shutil.copytree(empty, home, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def prefect_server(prefect_home) -> Iterator[None]:
    """Prefect's server with an empty database; flows that are called use it."""
    from prefect.logging.configuration import setup_logging
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    setup_logging()  # the first time it takes pytest's handlers off: better now than in the middle of a test
    prefect_home(Path(HOME.name))
    server = SubprocessASGIServer()
    server.start(timeout=150)
    with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
    server.stop()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The store of a run on the tiny configuration. Copy it to change it."""
    from fedsyn import pipeline
    from fedsyn.config import Execution
    from tests.e2e.tiny import EXPERIMENT

    def make(store: Path) -> None:
        pipeline.run(EXPERIMENT, Execution(store=str(store), device="cpu", threads=1))

    return made_once(tmp_path_factory, "tiny", make)
