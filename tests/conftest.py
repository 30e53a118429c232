"""Settings of every test: one thread, so that numbers and times do not depend on the machine's load, and a fresh home
for Prefect, which reads its settings once, when it is imported."""

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from flows.settings import apply

HOME = tempfile.TemporaryDirectory(prefix="prefect-")  # deleted when the process ends
os.environ |= {"PREFECT_HOME": HOME.name, "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
apply(os.environ)

torch.set_num_threads(1)
settings.register_profile("fedsyn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedsyn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: with two workers (one file each at a time) none is left alone with the longest file."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(autouse=True)
def _one_thread():
    """A stage sets the threads of the whole process; the next test starts with one again."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's server with an empty database; flows that are called use it. Starting it takes half a minute."""
    from prefect.logging.configuration import setup_logging
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    setup_logging()  # the first time it takes pytest's handlers off: better now than in the middle of a test
    with (
        prefect_test_harness(server_startup_timeout=150),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield
