"""A store of one test; a bucket of one test, and two machines that share it."""

import uuid
from functools import partial

import pytest

from fedsyn.artifacts import Store
from tests.artifacts import s3
from tests.artifacts.machines import machine, start
from tests.processes import python


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def endpoint():
    with s3.server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def nurse():
    with python("from tests.artifacts.machines import nurse; nurse()") as child:
        yield child


@pytest.fixture
def process(nurse):
    """Start a real process: `with process(work, *arguments) as child` (see `start`)."""
    return partial(start, nurse)


@pytest.fixture
def bucket(endpoint, monkeypatch):
    for name, value in s3.credentials(endpoint).items():
        monkeypatch.setenv(name, value)
    return s3.Bucket(endpoint, f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def fresh_connections():
    """fsspec keeps connections, and with them the endpoint and the credentials of other tests."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def one(bucket, tmp_path):
    return machine(bucket.url, tmp_path / "one")


@pytest.fixture
def two(bucket, tmp_path):
    return machine(bucket.url, tmp_path / "two")
