"""What a store can do without: artifacts that no result comes from, and what killed runs have left."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedsyn.artifacts.checkpoints import Checkpoints
from fedsyn.artifacts.files import remove, total_size
from fedsyn.artifacts.lineage import Ancestry, Identity
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.artifacts.manifest import Manifest, stage_of
from fedsyn.artifacts.remote import RemoteStore
from fedsyn.artifacts.store import Store, StoreError
from fedsyn.artifacts.work import Record, held

RESULTS = ("report", "ablation")
"""Stages whose artifacts nothing else needs, and which are kept: they are what the rest was made for."""


@dataclass(frozen=True)
class Leftover:
    """A folder to be deleted, and why."""

    path: Path
    why: str
    size: int


@dataclass(frozen=True)
class Extent:
    """How much to clean beside what is left of runs that were killed before they kept anything."""

    unreachable: bool = False
    """Artifacts that neither a report nor a running run leads to."""
    checkpoints: bool = False
    """Checkpoints of stages that no process works on."""
    quarantine: bool = False
    """Damaged artifacts."""


def clean(store: Store, extent: Extent, *, dry_run: bool = False) -> list[Leftover]:
    """Delete what `extent` says, or only tell what that is. What a living run holds is never touched.

    Runs that begin meanwhile wait for the moment in which folders are moved aside; deleting them comes after.

    Raises:
        StoreError: the store cannot be written, or is not a folder.
    """
    if isinstance(store, RemoteStore):
        raise StoreError(f"store {store.objects.url} is not a folder: clean it with its server's own tools")
    if dry_run:
        return list(_leftovers(store, extent))
    aside = store.root / "in_progress"
    trash = aside / f"trash-{uuid.uuid4().hex[:8]}"
    try:
        with held(store.gate(), f"store {store.root}"):
            trash.mkdir()
            moved = [leftover for leftover in _leftovers(store, extent) if _move(leftover.path, trash)]
        for folder in aside.glob("trash-*"):
            remove(folder)
    except OSError as error:
        raise StoreError(f"store {store.root} cannot be cleaned: {error}") from error
    return moved


def _leftovers(store: Store, extent: Extent) -> Iterator[Leftover]:
    roots = store.held()
    for place in _folders(store.root / "in_progress"):
        if is_held(place / "lock"):
            roots |= _read_by(place)
        elif place.name.startswith("run-"):
            yield Leftover(place, "a run that was killed", total_size(place))
        elif Checkpoints(place / "checkpoints").newest() is None:
            yield Leftover(place, "a killed run's draft", total_size(place))
        elif extent.checkpoints:
            yield Leftover(place, "checkpoints that no run works on", total_size(place))
    if extent.quarantine:
        for place in _folders(store.root / "quarantine"):
            yield Leftover(place, "damaged", total_size(place))
    if extent.unreachable:
        yield from _unreachable(store, roots)


def _unreachable(store: Store, roots: set[tuple[str, str]]) -> Iterator[Leftover]:
    manifests: list[Manifest] = list(store.manifests())
    ancestry = Ancestry(map(Identity.of, manifests))
    roots = roots | {(manifest.stage, manifest.key) for manifest in manifests if manifest.stage in RESULTS}
    if not roots:
        raise StoreError(
            f"store {store.root} has no report, so nothing would be kept: finish a run first, or delete the folder"
        )
    reached = set().union(*(ancestry.reach(stage, key) for stage, key in roots))
    for manifest in manifests:
        if (manifest.stage, manifest.key) not in reached:
            folder = store.folder(manifest.stage, manifest.key)
            yield Leftover(folder, "no report and no running run needs it", manifest.size)


def _read_by(place: Path) -> set[tuple[str, str]]:
    """What a stage in progress reads, as (stage, key): it may be made by itself, without a run that holds it."""
    record = Record.read(place)
    return {(stage_of(name), read.key) for name, read in record.inputs.items()} if record else set()


def _move(path: Path, trash: Path) -> bool:
    """Move a folder aside, unless a process has begun to work in it."""
    target = trash / f"{path.parent.name}-{path.name}"
    if path.parent.name != "in_progress":
        path.rename(target)
        return True
    lock = Lock(path / "lock")
    if not lock.acquire():
        return False
    path.rename(target)
    lock.release()
    return True


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("trash-"))
