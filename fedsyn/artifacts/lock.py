"""A lock that dies with its holder: `flock`, which the kernel frees when a process ends, however it ends.

Between the hosts of a network file system it is as good as that system's `flock`.
"""

import fcntl
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, for people to read."""

    host: str
    pid: int
    since: str

    @staticmethod
    def here() -> "Holder":
        """This process, now."""
        return Holder(socket.gethostname(), os.getpid(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


class Lock:
    """An advisory lock on the file `path`, which holds the holder's name. Threads exclude each other too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free; shared, beside others who share it. Returns whether it was.

        Raises:
            OSError: the file cannot be made or locked (a read-only or full disk, a file system without `flock`).
        """
        self.path.parent.parent.mkdir(parents=True, exist_ok=True)
        try:
            with suppress(FileExistsError):
                self.path.parent.mkdir()
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its folder has just been removed by the holder
            return False
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if not self._is_current(file):  # removed by an earlier holder: others lock another file by now
                raise BlockingIOError
            if not shared:
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(asdict(Holder.here())).encode(), 0)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def holder(self) -> Holder | None:
        """Who says that it holds the lock, or None where nobody can be read."""
        try:
            return Holder(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(file))
        except FileNotFoundError:
            return False


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file `path`. Reads only, so that it works in a read-only store."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
