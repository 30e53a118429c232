"""Being asked to stop: Ctrl-C, a scheduler's SIGTERM, a pre-empted machine.

The first signal asks; whoever computes looks (`check`) after each batch, keeps what it has, and leaves with
`Interrupted`. A second one ends the process at once, which costs no more than the work since the last checkpoint.
Signals belong to a process and not to a caller, so this is the one thing here that is kept and not passed.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 75
"""Exit status of a run that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later"."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked: list[str] = []


class Interrupted(Exception):
    """The run was asked to stop, has kept what it had, and goes on from there when it is started again."""


def requested() -> str | None:
    """The name of the signal that asked to stop, or None."""
    return _asked[0] if _asked else None


def check() -> None:
    """Leave here if a signal has asked to stop.

    Raises:
        Interrupted: one has.
    """
    if _asked:
        raise Interrupted(f"stopped by {_asked[0]}; what is done is kept, and the same command goes on from there")


@contextmanager
def told() -> Iterator[None]:
    """What fails after a signal fails because of it, for one that goes to a whole group ends helpers in mid-sentence.

    Raises:
        Interrupted: a signal has asked to stop, and the body has raised something.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        check()
        raise


@contextmanager
def listening() -> Iterator[None]:
    """Take SIGINT and SIGTERM as requests while the context is open. Threads other than the main one cannot.

    Inside another such context nothing changes: what was asked holds until the outermost one is left.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(SIGNALS[0]) is _ask:
        yield
        return
    earlier = {number: signal.signal(number, _ask) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        _asked.clear()


def _ask(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    if _asked:
        os._exit(128 + number)
    _asked.append(name)
    with suppress(OSError):  # nobody reads it any more
        os.write(2, f"\n{name}: stopping after this batch; once more to stop at once\n".encode())
