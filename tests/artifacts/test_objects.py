"""URLs that will not do, servers that do not answer, and secrets that stay secret."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedsyn.artifacts import StoreError, StoreUnavailable, open_store
from tests.artifacts.machines import PLACE
from tests.artifacts.samples import attempt, write_three_files
from tests.handmade import KEY, publish


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no-such-protocol://bucket", "store no-such-protocol://bucket: Protocol not known.*s3://bucket/folder"),
        ("data://store", "DataFileSystem cannot create an object on condition"),
        ("simplecache::s3://bucket", "must be a plain URL"),
    ],
)
def test_a_url_that_will_not_do_is_refused(url, message, tmp_path):
    with pytest.raises(StoreError, match=message):
        open_store(url, tmp_path)


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket/store", "s3://bucket/store?token=hunter2", "s3://bucket/x#hunter2"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url, tmp_path):
    with pytest.raises(StoreError, match=r"must be a plain URL.*AWS_ACCESS_KEY_ID") as error:
        open_store(url, tmp_path)
    assert "hunter2" not in str(error.value)


def test_credentials_are_written_nowhere(one, two, bucket, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    publish(one, write_three_files)
    bucket.put(f"{PLACE}/notes.txt", b"x")
    two.find("stage", KEY)
    with suppress(ZeroDivisionError), one.work("stage", KEY) as work:
        work.begin(attempt(), {})
        work.checkpoints.save(0, 1, "json", lambda path: path.write_text("1"))
        written = b"".join([*bucket.contents().values(), *(path.read_bytes() for path in files_below(one.root.parent))])
        raise ZeroDivisionError
    assert b"lease" not in written
    assert b"token" in written  # the lease's
    for secret in ("a-secret-key", "an-access-key"):
        assert secret.encode() not in written
        assert secret not in caplog.text


def files_below(root):
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    store = open_store("s3://no-such-bucket-here/store", tmp_path)
    for use in (
        lambda: store.find("stage", KEY),
        lambda: publish(store, write_three_files),
        lambda: list(store.names()),
    ):
        with pytest.raises(
            StoreError, match=r"store s3://no-such-bucket-here/store: .* does not exist; create the bucket"
        ) as error:
            use()
        assert not isinstance(error.value, StoreUnavailable)


def test_a_server_that_is_not_there(bucket, tmp_path, monkeypatch, fresh_connections):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store(bucket.url, tmp_path)
    with pytest.raises(
        StoreUnavailable, match=r"Could not connect to the endpoint.*; check the network and the endpoint"
    ) as error:
        store.find("stage", KEY)
    assert bucket.url in str(error.value)


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """The endpoint of a server that has nothing but this status for everybody; None: it hangs up."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.close_connection = True
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, StoreUnavailable) for status in (None, 429, 500, 502, 503, 504)),
        *((status, StoreError) for status in (400, 401, 403, 501)),
    ],
)
def test_whether_a_server_may_answer_later(status, kind, bucket, tmp_path, monkeypatch, fresh_connections):
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with answering(status) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = open_store(bucket.url, tmp_path)
        for use in (lambda: store.find("stage", KEY), lambda: publish(store, write_three_files)):
            with pytest.raises(StoreError) as error:
                use()
            assert type(error.value) is kind


def test_no_credentials(bucket, tmp_path, monkeypatch, fresh_connections):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        StoreError, match=r"Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ) as error:
        open_store(bucket.url, tmp_path / "cache").find("stage", KEY)
    assert not isinstance(error.value, StoreUnavailable)


def test_a_missing_package_is_named_with_the_way_to_install_it(tmp_path):
    code = """
import sys
sys.modules["s3fs"] = None
from fedsyn.artifacts import StoreError, open_store
try:
    open_store("s3://bucket/store", sys.argv[1])
except StoreError as error:
    print(error)
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "store s3://bucket/store: " in said
    assert "pip install 'fedsyn[s3]'" in said
