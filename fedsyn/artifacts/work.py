"""A stage in progress: one writer a key, a draft that becomes the artifact, and checkpoints to go on from.

Everything lies in `<store>/in_progress/<stage>-<key>/`: `lock`, `draft/`, `checkpoints/` and `record.json`. It is gone
when the artifact is published, and is what a killed run leaves behind.
"""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, Field

from fedsyn import interruption
from fedsyn.artifacts.checkpoints import Checkpoints, Pace
from fedsyn.artifacts.files import remove, write_at_once
from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.lock import Holder, Lock
from fedsyn.artifacts.manifest import Attempt, Input

logger = logging.getLogger(__name__)

LONGEST_NAP = 0.5
"""Seconds between two looks at a lock that somebody holds."""

REMINDER = 60.0
"""Seconds between two messages about waiting."""


class Record(BaseModel):
    """What an attempt leaves for the next: the inputs that it read, and who worked so far."""

    inputs: dict[str, Input]
    attempts: tuple[Attempt, ...] = Field(min_length=1)
    seconds: float
    """Work before the last attempt."""

    @staticmethod
    def read(place: Path) -> "Record | None":
        """The record of the stage in progress in `place`, or None where nobody has begun."""
        with suppress(FileNotFoundError, ValueError):  # not there, or no record
            return Record.model_validate_json((place / "record.json").read_text(encoding="utf-8"))
        return None


class Work:
    """The place of a stage in progress, held by its one writer."""

    def __init__(self, place: Path, name: str, pace: Pace) -> None:
        self.place, self.name = place, name
        self.draft = Folder(place / "draft")
        self.checkpoints = Checkpoints(place / "checkpoints", pace)
        self.attempts: tuple[Attempt, ...] = ()
        self.earlier_seconds = 0.0
        remove(self.draft.root)
        self.draft.root.mkdir()

    def begin(self, attempt: Attempt, inputs: Mapping[str, Input]) -> None:
        """Say who works now, and from which bytes. Checkpoints made from others are dropped."""
        record, kept = Record.read(self.place), self.checkpoints.newest()
        if record is None or kept is None or record.inputs != dict(inputs):
            self.checkpoints.clear()
            self.attempts, self.earlier_seconds = (attempt,), 0.0
        else:
            last = record.attempts[-1].started.timestamp()
            contributed = kept >= last or len(record.attempts) == 1  # otherwise the last one died before it kept any
            self.attempts = (*(record.attempts if contributed else record.attempts[:-1]), attempt)
            self.earlier_seconds = record.seconds + max(0.0, kept - last)
            self._tell_differences()
        record = Record(inputs=dict(inputs), attempts=self.attempts, seconds=self.earlier_seconds)
        write_at_once(self.place / "record.json", record.model_dump_json(indent=2))
        self.checkpoints.mirror.begun()

    def leave(self, published: bool) -> None:
        """Clear away what nobody needs: all of it, unless there are checkpoints to go on from."""
        if published or self.checkpoints.newest() is None:
            clear_away(self.place)
        else:
            remove(self.draft.root)

    def _tell_differences(self) -> None:
        before, now = (attempt.circumstances() for attempt in self.attempts[-2:])
        changed = [f"{name} {before.get(name)} -> {now.get(name)}" for name in now if now[name] != before.get(name)]
        if changed:
            logger.warning(
                "%s: goes on from a checkpoint that was made under other circumstances (%s); its last bits may differ "
                "from those of a run in one piece",
                self.name,
                ", ".join(changed),
            )


def clear_away(place: Path) -> None:
    """Remove a stage's place, which the caller holds. The lock goes last: with it gone, the next writer begins."""
    with suppress(OSError):
        for path in sorted(place.iterdir(), key=lambda path: path.name == "lock"):
            remove(path)
        place.rmdir()


@contextmanager
def held(lock: Lock, name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold `lock`; where another run does, wait for it and say so.

    Raises:
        Interrupted: a signal asked to stop meanwhile.
        OSError: the lock's file cannot be made.
    """
    wait(lambda: lock.acquire(shared=shared), lock.holder, name)
    try:
        yield
    finally:
        lock.release()


def wait(acquire: Callable[[], bool], holder: Callable[[], Holder | None], name: str) -> None:
    """Try to `acquire` until it succeeds, and say who is in the way.

    Raises:
        Interrupted: a signal asked to stop meanwhile.
    """
    nap, next_reminder = 0.01, time.monotonic() + 0.2
    while not acquire():
        interruption.check()
        if time.monotonic() >= next_reminder:
            logger.info("%s: held by %s; waiting", name, holder() or "another run")
            next_reminder = time.monotonic() + REMINDER
        time.sleep(nap)
        nap = min(2 * nap, LONGEST_NAP)


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full; safetensors tells it in words only."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = ("os error 28", "os error 122", "os error 27", "StorageFull", "No space left")
    return getattr(error, "errno", None) in full or any(word in str(error) for word in words)
