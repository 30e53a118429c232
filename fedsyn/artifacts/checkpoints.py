"""What a stage in progress has done so far, kept so that a kill costs little.

A checkpoint is one file that covers units [start, stop) of the stage's work (rounds of a training, images of a
generation). Its name says which, and the SHA-256 of its content: `000000000-000000012-<sha256>.safetensors`. So it is
there whole or not at all (one rename), and its bytes are those that were written, or it is not read.
"""

import copy
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fedsyn.artifacts.files import flush_file, flush_folder, remove, sha256, share

logger = logging.getLogger(__name__)

NAME = re.compile(r"(?P<start>\d{9})-(?P<stop>\d{9})-(?P<sha256>[0-9a-f]{64})\.\w+")

COST = 100
"""By time, a checkpoint is due only after so many times what the last one took: keeping costs at most 1 %."""


@dataclass(frozen=True)
class Pace:
    """How often to keep: after so many rounds of a training, or after so many seconds, whichever comes first."""

    rounds: int | None = None
    seconds: float | None = 30.0


@dataclass(frozen=True)
class Checkpoint:
    """A file, and the units of work that it covers."""

    path: Path
    start: int
    stop: int
    sha256: str


class Mirror:
    """Where copies of what a stage in progress keeps go: nowhere, unless its store says otherwise."""

    def begun(self) -> None:
        """The record of a new attempt is written; checkpoints that it cannot use are gone."""

    def kept(self) -> None:
        """A checkpoint is written; those that it covers are gone."""


class Checkpoints:
    """The checkpoints of one stage in progress, in a folder of their own."""

    def __init__(self, folder: Path, pace: Pace = Pace()) -> None:
        self.folder, self.pace, self.mirror = folder, pace, Mirror()
        self._first = 0
        self._last, self._cost = time.monotonic(), 0.0

    def part(self, first: int) -> "Checkpoints":
        """The checkpoints of the work that begins at unit `first` and counts its own units from 0: of the second of
        several trainings, say. What comes before it must be kept to its end, since a chain has no gaps."""
        part = copy.copy(self)
        part._first = self._first + first
        return part

    def due(self, rounds: int = 0) -> bool:
        """Whether to keep now, `rounds` of training after the last time."""
        if self.pace.rounds is not None and rounds >= self.pace.rounds:
            return True
        if self.pace.seconds is None:
            return False
        least = max(self.pace.seconds, COST * self._cost) if self.pace.seconds else 0.0
        return time.monotonic() - self._last >= least

    def save(self, start: int, stop: int, suffix: str, write: Callable[[Path], object]) -> None:
        """Keep units [start, stop): `write` makes the file. What it covers besides is dropped.

        Raises:
            OSError: the file cannot be written; earlier checkpoints are as they were.
            StoreError: another machine has taken the work over.
        """
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"partial.{suffix}"
        try:
            write(partial)
            share(partial)
            flush_file(partial)
            start, stop = start + self._first, stop + self._first
            path = self.folder / f"{start:09d}-{stop:09d}-{sha256(partial)}.{suffix}"
            partial.rename(path)
        except Exception:
            remove(partial)  # it may have taken what was left of a disk
            raise
        flush_folder(self.folder)
        for other in self._named():
            if other.path != path and start <= other.start and other.stop <= stop:
                remove(other.path)
        self.mirror.kept()
        self._last = time.monotonic()
        self._cost = self._last - began

    def chain(self) -> list[Checkpoint]:
        """The checkpoints that cover the longest [0, n), in order, each verified.

        A damaged one is removed, named in the log, and done without.
        """
        usable = [found for found in self._named() if self._verified(found)]
        chains: dict[int, list[Checkpoint]] = {0: []}  # n -> some that cover [0, n)
        for found in sorted(usable, key=lambda found: (found.start, found.stop)):
            if found.start in chains and found.start < found.stop:
                chains.setdefault(found.stop, [*chains[found.start], found])
        return [
            replace(found, start=found.start - self._first, stop=found.stop - self._first)
            for found in chains[max(chains)]
            if found.start >= self._first
        ]

    def units(self) -> int:
        """The units that are kept, by the names alone: for listings, never for computation."""
        done = 0
        for found in sorted(self._named(), key=lambda found: (found.start, found.stop)):
            done = found.stop if found.start <= done else done
        return done

    def newest(self) -> float | None:
        """When the last one was kept, in seconds since the epoch; None where there is none."""
        times = []
        for found in self._named():
            with suppress(FileNotFoundError):  # its writer has just dropped it
                times.append(found.path.lstat().st_mtime)
        return max(times, default=None)

    def clear(self) -> None:
        """Drop them all."""
        for found in self._named():
            remove(found.path)

    def _named(self) -> list[Checkpoint]:
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = os.listdir(self.folder)
        matches = [match for name in sorted(names) if (match := NAME.fullmatch(name))]
        return [
            Checkpoint(self.folder / match[0], int(match["start"]), int(match["stop"]), match["sha256"])
            for match in matches
        ]

    def _verified(self, found: Checkpoint) -> bool:
        if not found.path.is_symlink() and found.path.is_file() and sha256(found.path) == found.sha256:
            return True
        logger.warning("checkpoint %s is damaged; going on without it", found.path)
        remove(found.path)
        return False
