"""A whole run on S3 leaves its credentials nowhere: not in the bucket, the cache, a log or Prefect's database."""

import logging
from pathlib import Path

import pytest

from tests.e2e.tiny import OVERRIDES, STAGE_NAMES

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIA-7d1c0f93b2", "AWS_SECRET_ACCESS_KEY": "secret-b41e6ac85d"}


@pytest.fixture
def machine(bucket, fresh_connections, tmp_path, monkeypatch):
    """One with a store on S3; its cache."""
    settings = {"FEDSYN_STORE": bucket.url, "FEDSYN_CACHE": str(tmp_path / "cache"), "FEDSYN_THREADS": "1"}
    for name, value in (SECRETS | settings).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "cache"


def files_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def prefects_database() -> bytes:
    """Parameters, states, artifacts and logs of all flow runs, as they lie on the disk."""
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

    APILogHandler().flush()
    return files_below(Path(PREFECT_SERVER_DATABASE_CONNECTION_URL.value().partition(":///")[2]).parent)


@pytest.mark.e2e
@pytest.mark.usefixtures("prefect_server")
def test_a_runs_credentials_are_written_nowhere(machine, bucket, caplog):
    from flows.ddsa_fssl import ddsa_fssl

    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "fedsyn")
    results = ddsa_fssl("digits", OVERRIDES, {"device": "cpu"})
    assert list(results) == STAGE_NAMES
    key = results["report"].manifest.key

    places = {
        "bucket": b"".join(bucket.contents().values()),
        "cache": files_below(machine),
        "log": "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records).encode(),
        "prefect": prefects_database(),
    }
    for place, content in places.items():
        assert key.encode() in content, place
        assert [name for name, secret in SECRETS.items() if secret.encode() in content] == [], place
