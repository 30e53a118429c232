"""Real Python processes, for what only a process can do: hold a lock, get a signal, be killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def python(code: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """A process that runs `code` with `arguments` as its sys.argv[1:], the first of a group of its own.

    It is killed at the end, unless it is over.
    """
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    pipes: dict = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True}
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes) as child:
        try:
            yield child
        finally:
            child.kill()


def with_environment(*entries: str) -> list[int]:
    """The living processes that have all of these `NAME=value` in their environment."""
    wanted, found = {entry.encode() for entry in entries}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it is over, or another user's
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return found


def said(child: subprocess.Popen) -> str:
    """The next line that a process says."""
    line = child.stdout.readline().strip()
    assert line, child.stderr.closed or child.stderr.read()
    return line
