"""The store's files over HTTP: reports, to be read with a browser."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def file_server(folder: str, host: str, port: int) -> Iterator[None]:
    """Give the files of `folder` to whoever asks at this address, while the context is open."""
    handler = functools.partial(_Quiet, directory=folder)
    with ThreadingHTTPServer((host, port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    """Files of one folder, without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
