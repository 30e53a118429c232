"""A real S3 server on loopback, a process of its own (moto's), and a bucket of it as an administrator sees it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import python, said


@contextmanager
def server() -> Iterator[str]:
    """The endpoint of a server that runs while the context is open."""
    with python("from tests.artifacts.s3 import serve; serve()") as child:
        yield f"http://127.0.0.1:{said(child)}"


def serve() -> None:
    """One request at a time: moto looks whether an object is there and then writes it; S3 does both at once."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ, start_response):
        with turn:
            return application(environ, start_response)

    running = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
    print(running.server_port, flush=True)
    running.serve_forever()


class Bucket:
    """A bucket, its objects by name."""

    def __init__(self, endpoint: str, name: str) -> None:
        import boto3

        self.name, self.url = name, f"s3://{name}/some/store"
        self._client = boto3.client("s3", endpoint_url=endpoint)
        self._client.create_bucket(Bucket=name)

    def names(self, folder: str = "") -> list[str]:
        """Names of the objects below the folder of the store."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=f"some/store/{folder}")
        return [found["Key"].removeprefix("some/store/") for page in pages for found in page.get("Contents", [])]

    def get(self, name: str) -> bytes:
        return self._client.get_object(Bucket=self.name, Key=f"some/store/{name}")["Body"].read()

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=f"some/store/{name}", Body=content)

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=f"some/store/{name}")

    def contents(self, folder: str = "") -> dict[str, bytes]:
        return {name: self.get(name) for name in self.names(folder)}

    def edit(self, folder: str, here: Path, change) -> None:
        """Have `change` work on a local copy of a folder, `here`, and bring it back, byte by byte."""
        before = self.contents(folder)
        for name, content in before.items():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes(content)
        change(here / folder)
        after = {}
        for path in (here / folder).rglob("*"):
            if path.is_file():
                after[path.relative_to(here).as_posix()] = path.read_bytes()
        for name in before.keys() - after.keys():
            self.delete(name)
        for name, content in after.items():
            if before.get(name) != content:
                self.put(name, content)


def credentials(endpoint: str) -> dict[str, str]:
    """The environment of a process that may use the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "an-access-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
