"""The few things that a store asks of an object store, through fsspec; what goes wrong is told as a `StoreError`."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fedsyn.artifacts.store import StoreError, StoreUnavailable
from fedsyn.artifacts.work import is_full

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ENDPOINT = "check the network and the endpoint (FSSPEC_S3_ENDPOINT_URL or AWS_ENDPOINT_URL)"

AT_ONCE = 256
"""Objects that are read together."""

REMEDIES = {
    "NoSuchBucket": "create the bucket, or check its name",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PermissionError": "check the credentials (AWS_ACCESS_KEY_ID, ...) and what they allow",
    "EndpointConnectionError": ENDPOINT,
    "ConnectTimeoutError": ENDPOINT,
    "ReadTimeoutError": ENDPOINT,
    "ConnectionClosedError": ENDPOINT,
    "ResponseStreamingError": ENDPOINT,
    "IncompleteRead": ENDPOINT,
    "ClientPayloadError": ENDPOINT,
}
"""What to do about an error, by its class or by the server's code for it."""

BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "429", "500", "502", "503", "504"}
"""How servers say that they will answer later."""

REFUSALS = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""How servers say that an object is there already, or is being written at this moment."""


class Objects:
    """The objects below a URL, by name. Whoever reads after a write sees the write."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            StoreError: the URL is no plain one, or its file system is not known, not installed, or cannot create an
                object on condition that there is none.
        """
        self.url = _masked(url).rstrip("/")
        if "::" in url or "?" in url or "#" in url or re.search(r"//[^/]*:[^/]*@", url):
            raise StoreError(
                f"store {self.url}: must be a plain URL like s3://bucket/folder, without options or credentials; these "
                "come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, FSSPEC_S3_...)"
            )
        self._fs, self._root = self._file_system(url)

    def read(self, name: str, largest: int) -> bytes | None:
        """The content of an object, or its first `largest` + 1 bytes where it has more; None where it is not there."""
        with suppress(FileNotFoundError), self._telling():
            try:
                return bytes(self._fs.cat_file(self._path(name), start=0, end=largest + 1))
            except OSError as error:
                if _code(error) == "InvalidRange":  # it is empty
                    return b""
                raise
        return None

    def read_all(self, names: Sequence[str], largest: int) -> Iterator[tuple[str, bytes]]:
        """Those of the objects that can be read, as far as `read` does."""
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            with self._telling():
                contents = self._fs.cat_ranges([self._path(name) for name in some], 0, largest + 1, on_error="return")
            yield from ((name, found) for name, found in zip(some, contents, strict=True) if isinstance(found, bytes))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of all objects below `folder`, by their names in it."""
        top = self._path(folder)
        found: dict[str, dict[str, int]] = {}
        with suppress(FileNotFoundError), self._telling():
            found = self._fs.find(top, detail=True)
        return {path[len(top) + 1 :]: found[path]["size"] for path in sorted(found) if path.startswith(f"{top}/")}

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in `folder`."""
        found: list[dict[str, str]] = []
        with suppress(FileNotFoundError), self._telling():
            found = self._fs.ls(self._path(folder), detail=True)
        return sorted(entry["name"].rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory")

    def create(self, name: str, content: bytes) -> bool:
        """Make an object, on condition that there is none. Returns whether it has this content now."""
        for _ in range(3):
            with self._telling():
                try:
                    self._fs.pipe_file(self._path(name), content, mode="create")
                    return True
                except Exception as error:
                    if not _is_refusal(error):
                        raise
            there = self.read(name, len(content))
            if there is not None:
                return there == content  # ours, where an answer got lost and the request was sent again
        return False

    def put(self, path: Path, name: str, *, replace: bool = False) -> bool:
        """Make an object of a file; `replace` one that is there. Returns whether it was done."""
        with self._telling():
            try:
                self._fs.put_file(str(path), self._path(name), mode="overwrite" if replace else "create")
            except Exception as error:
                if not replace and _is_refusal(error):
                    return False
                raise
        return True

    def get(self, files: Mapping[str, Path]) -> None:
        """Copy objects into files, whose folders are made.

        Raises:
            FileNotFoundError: one is not there.
            OSError: the disk is full.
        """
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._telling():
            self._fs.get([self._path(name) for name in files], [str(path) for path in files.values()])

    def copy(self, name: str, target: str) -> None:
        """Copy an object, which may be gone."""
        with suppress(FileNotFoundError), self._telling():
            self._fs.cp_file(self._path(name), self._path(target))

    def delete(self, name: str) -> None:
        """Delete an object, which may be gone."""
        with suppress(FileNotFoundError), self._telling():
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _file_system(self, url: str) -> "tuple[AbstractFileSystem, str]":
        from fsspec.core import url_to_fs

        try:
            fs, root = url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise StoreError(f"store {self.url}: {error} (for s3://: pip install 'fedsyn[s3]')") from error
        except Exception as error:
            raise StoreError(f"store {self.url}: {_masked(str(error))}; use a folder, or s3://bucket/folder") from error
        if not _creates(fs):
            raise StoreError(
                f"store {self.url}: fsspec's {type(fs).__name__} cannot create an object on condition that there is "
                "none, which two runs at once need; use a folder, or s3://bucket/folder"
            )
        return fs, root.rstrip("/")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let pass what says something about an object or this disk; tell the rest as a `StoreError`."""
        try:
            yield
        except Exception as error:
            code = _code(error)
            if (isinstance(error, FileNotFoundError) and code != "NoSuchBucket") or is_full(error):
                raise
            name = next((name for name in (code, type(error).__name__) if name in REMEDIES), None)
            remedy = f"; {REMEDIES[name]}" if name else ""
            unreachable = isinstance(error, ConnectionError | TimeoutError) or (name and REMEDIES[name] is ENDPOINT)
            later = code in BUSY or unreachable
            kind = StoreUnavailable if later else StoreError
            raise kind(f"store {self.url}: {_masked(str(error) or type(error).__name__)}{remedy}") from error


def _masked(text: str) -> str:
    """`text` without what may be a secret in the URLs in it."""
    return re.sub(r"(\w://)[^/@\s]*@", r"\1***@", re.sub(r"(\w://[^\s?#]*)[?#]\S*", r"\1?***", text))


def _creates(fs: "AbstractFileSystem") -> bool:
    """Whether a file system has a way of its own to write on condition; fsspec's looks first, which is too late."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    general, prefix = (AsyncFileSystem, "_") if fs.async_impl else (AbstractFileSystem, "")
    pipe, put = (getattr(type(fs), f"{prefix}{name}") for name in ("pipe_file", "put_file"))
    own = pipe is not getattr(general, f"{prefix}pipe_file")
    return own and all("mode" in inspect.signature(method).parameters for method in (pipe, put))


def _code(error: BaseException) -> str | None:
    """The server's code for an error, where botocore is among its causes."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or _code(error) in REFUSALS
