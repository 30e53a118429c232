"""Settings of every test: one thread, so that numbers and times do not depend on the machine's load."""

import pytest
import torch
from hypothesis import HealthCheck, settings

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
