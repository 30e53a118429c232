"""A store of one test."""

import pytest

from fedsyn.artifacts import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")
