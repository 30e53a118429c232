"""The local copies of remote artifacts: a folder for each store, kept below a size by deleting what was used least.

A copy's last use is the modification time of its `manifest.json`. What a running run holds stays, and so does what is
not in its remote store yet, `in_progress/unsent-<stage>-<key>`.
"""

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedsyn.artifacts.files import remove, total_size
from fedsyn.artifacts.lock import Lock
from fedsyn.artifacts.store import Store
from fedsyn.artifacts.work import clear_away, held

MARK = "url.txt"
"""Says of which remote store a folder holds copies; without it nothing in a folder is deleted."""


@dataclass(frozen=True)
class Copy:
    """A local copy of an artifact."""

    store: Store
    stage: str
    key: str
    used: float
    size: int


def touch(folder: Path) -> None:
    """Say that a copy is used now."""
    with suppress(OSError):  # in a cache that cannot be written nothing is deleted either
        os.utime(folder / "manifest.json")


def unsent(store: Store, stage: str, key: str) -> Path:
    """The file that says that an artifact was made here and is not in the remote store yet."""
    return store.root / "in_progress" / f"unsent-{stage}-{key}"


def delete(store: Store, stage: str, key: str) -> None:
    """Delete a copy. Nobody sees a part of it."""
    aside = store.root / "in_progress"
    aside.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        store.folder(stage, key).rename(aside / f"trash-{uuid.uuid4().hex[:8]}")
    for trash in aside.glob("trash-*"):
        remove(trash)


def shrink(cache: Path, limit: int, keep: Path) -> None:
    """Delete the copies that were not used for the longest time until all in `cache` have at most `limit` bytes.

    The copy in the folder `keep` stays. Where all the rest is in use, more than `limit` bytes stay.
    """
    stores = [Store(mark.parent) for mark in cache.glob(f"*/{MARK}")]
    for store in stores:
        _clear_killed_downloads(store)
    copies = sorted((copy for store in stores for copy in _copies(store)), key=lambda copy: copy.used)
    excess = sum(copy.size for copy in copies) - limit
    for copy in copies:
        if excess <= 0:
            return
        if copy.store.folder(copy.stage, copy.key) != keep and _delete_unused(copy):
            excess -= copy.size


def _copies(store: Store) -> list[Copy]:
    found = []
    for stage, key in store.names():
        with suppress(FileNotFoundError):  # another run has just deleted it
            folder = store.folder(stage, key)
            used = (folder / "manifest.json").stat().st_mtime
            found.append(Copy(store, stage, key, used, total_size(folder)))
    return found


def _clear_killed_downloads(store: Store) -> None:
    for place in (store.root / "in_progress").glob("fetch-*"):
        lock = Lock(place / "lock")
        if lock.acquire():
            clear_away(place)
            lock.release()


def _delete_unused(copy: Copy) -> bool:
    """Delete a copy that nobody holds. Runs that begin wait meanwhile."""
    store = copy.store
    with held(store.gate(), f"store {store.root}"):
        if unsent(store, copy.stage, copy.key).exists() or (copy.stage, copy.key) in store.held():
            return False
        delete(store, copy.stage, copy.key)
    return True
