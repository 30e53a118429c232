"""The store: `<root>/<stage>/<key>/` holds a stage's files and its manifest.

Published whole or not at all (written elsewhere in the store, flushed, renamed), trusted never (opening an artifact
checks every byte, and one that fails is moved to `<root>/quarantine/`), and made by one writer at a time.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fedsyn.artifacts.checkpoints import Pace
from fedsyn.artifacts.files import flush_folder, flush_tree, list_files, plain_size, sha256, share, write_at_once
from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.artifacts.manifest import Input, Manifest
from fedsyn.artifacts.work import Work, clear_away, held, is_full

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9a-f]{24}")


class StoreError(Exception):
    """The store cannot be used as asked; the message says what to change."""


class StoreUnavailable(StoreError):
    """The store does not answer at this moment; the same request may succeed later."""


class Artifact(Folder):
    """A verified artifact, opened for reading."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        super().__init__(root)
        self.manifest = manifest


class Store:
    """A folder of artifacts."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of `stage` and `key` lies or would lie."""
        return self.root / stage / key

    def place(self, stage: str, key: str) -> Path:
        """Where the artifact is in progress, or would be."""
        return self.root / "in_progress" / f"{stage}-{key}"

    def find(self, stage: str, key: str, inputs: Mapping[str, Input] | None = None) -> Artifact | None:
        """The verified artifact, or None where there is none.

        A damaged one, or one that was made from other bytes of its inputs than `inputs` says, is moved to
        quarantine and None is returned, so that it is made again.

        Raises:
            StoreError: it cannot be read, for a reason that says nothing about it (permissions, open files, a network);
                or it is damaged and cannot be moved.
        """
        try:
            found = self._verified(stage, key, inputs)
            if found is not None and self.place(stage, key).exists():
                self._sweep(stage, key)
            return found
        except DamagedArtifact:  # looked at again, and moved, by one alone: another run may be healing it
            with self.work(stage, key):
                return self.heal(stage, key, inputs)

    def open(self, manifest: Manifest) -> Artifact:
        """The artifact that `manifest` names.

        Raises:
            StoreError: it is gone or damaged, or has other bytes than the manifest says.
        """
        artifact = self.find(manifest.stage, manifest.key, manifest.inputs)
        if artifact is None or artifact.manifest.digest != manifest.digest:
            raise StoreError(f"artifact {manifest.stage}/{manifest.key} is gone or has changed: run again to make it")
        return artifact

    def obtain(
        self,
        stage: str,
        key: str,
        inputs: Mapping[str, Input],
        make: Callable[[Work], Artifact],
        pace: Pace = Pace(),  # noqa: B008 (frozen)
    ) -> tuple[Artifact, bool]:
        """The verified artifact, and whether it was there; `make` publishes it where it was not, as the key's one
        writer.

        Raises:
            StoreError: the store cannot be read or written, or is full.
            Interrupted: a signal asked to stop while this waited for another writer.
        """
        found = self.find(stage, key, inputs)
        if found is not None:
            return found, True
        with self.work(stage, key, pace) as work:
            found = self.heal(stage, key, inputs)  # another writer may have made it while this one waited
            return (found, True) if found is not None else (make(work), False)

    @contextmanager
    def work(self, stage: str, key: str, pace: Pace = Pace()) -> Iterator[Work]:  # noqa: B008 (frozen)
        """Be the one writer of a key, for the time of the context; wait for the one who is.

        What an earlier writer kept as checkpoints is there. An error leaves them for the next one.

        Raises:
            StoreError: the store cannot be written, or is full.
            Interrupted: a signal asked to stop while this waited.
        """
        name = f"{stage}/{key}"
        with ExitStack() as stack:
            try:
                place = self.place(stage, key)
                stack.enter_context(held(Lock(place / "lock"), name))
                work = Work(place, name, pace)
            except OSError as error:
                raise self._unwritable(name, error) from error
            try:
                yield work
            except Exception as error:
                if is_full(error):
                    raise self._unwritable(name, error) from error
                raise
            finally:
                work.leave(published=self.folder(stage, key).exists())

    def heal(self, stage: str, key: str, inputs: Mapping[str, Input] | None = None) -> Artifact | None:
        """`find`, for the key's writer: moves a damaged artifact to quarantine itself."""
        try:
            return self._verified(stage, key, inputs)
        except DamagedArtifact as damage:
            self._quarantine(self.folder(stage, key), str(damage))
            return None

    def publish(self, draft: Folder, manifest: Manifest) -> Artifact:
        """Make the draft of `work` the artifact of its key, at once."""
        (draft.root / "manifest.json").write_text(manifest.sealed(), encoding="utf-8")
        for file in manifest.files:
            share(draft.root / file.name)
        flush_tree(draft.root)
        folder = self.folder(manifest.stage, manifest.key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(folder):  # only where locks do not hold, on some network file systems
            published = self.heal(manifest.stage, manifest.key, manifest.inputs)
            if published is not None:
                return published
        draft.root.rename(folder)
        flush_folder(folder.parent)
        return Artifact(folder, manifest)

    @contextmanager
    def hold(self, artifacts: Iterable[tuple[str, str]]) -> Iterator[None]:
        """Keep these artifacts (stage, key), there or not yet, from being cleaned while the context is open."""
        place = self.root / "in_progress" / f"run-{uuid.uuid4().hex[:12]}"
        lock = Lock(place / "lock")
        try:
            with held(self.gate(), f"store {self.root}", shared=True):
                while not lock.acquire():  # somebody has just looked whether it is held
                    time.sleep(0.01)
                write_at_once(place / "artifacts.txt", "".join(f"{stage}/{key}\n" for stage, key in artifacts))
        except OSError:  # a store that cannot be written is not cleaned by us either
            yield
            return
        try:
            yield
        finally:
            clear_away(place)
            lock.release()

    def held(self) -> set[tuple[str, str]]:
        """The artifacts that running runs hold, there or not yet, as (stage, key)."""
        found: set[tuple[str, str]] = set()
        for place in (self.root / "in_progress").glob("run-*"):
            with suppress(FileNotFoundError):  # it ends at this moment
                if is_held(place / "lock"):
                    lines = (place / "artifacts.txt").read_text(encoding="utf-8").splitlines()
                    found |= {(stage, key) for stage, _, key in (line.partition("/") for line in lines)}
        return found

    def gate(self) -> Lock:
        """Shared by runs that begin, held alone by whoever cleans the store."""
        return Lock(self.root / "in_progress" / "gate")

    def manifests(self, stage: str | None = None) -> Iterator[Manifest]:
        """The readable manifests (of `stage`), the files unverified: for listings, never for computation."""
        for name, key in self.names(stage):
            manifest = self.manifest(name, key)
            if manifest is not None:
                yield manifest

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """A readable manifest, the files unverified; None where there is none."""
        with suppress(ValueError, OSError):
            manifest = Manifest.read(f"{self.root}/{stage}/{key}")
            if (manifest.stage, manifest.key) == (stage, key):
                return manifest
        return None

    def names(self, stage: str | None = None) -> Iterator[tuple[str, str]]:
        """Stage and key of all artifacts (of `stage`), damaged ones too, in order of their names."""
        stages = [stage] if stage else sorted(os.listdir(self.root)) if self.root.is_dir() else []
        for name in stages:
            parent = self.root / name
            if name not in ("in_progress", "quarantine") and parent.is_dir():
                yield from ((name, key) for key in sorted(os.listdir(parent)) if KEY.fullmatch(key))

    def check(self, stage: str, key: str) -> str | None:
        """What is wrong with an artifact, every byte of it read; None where nothing is. Moves nothing."""
        try:
            self._verified(stage, key, None)
        except DamagedArtifact as damage:
            return str(damage)
        return None

    def _verified(self, stage: str, key: str, inputs: Mapping[str, Input] | None) -> Artifact | None:
        folder = self.folder(stage, key)
        if not os.path.lexists(folder):
            return None
        try:
            manifest = verify(folder)
            check_inputs(manifest, inputs)
        except FileNotFoundError:  # another run has just moved it
            return None
        except OSError as error:  # says nothing about the artifact
            raise StoreError(f"artifact {stage}/{key} cannot be read: {error}; check the store {self.root}") from error
        return Artifact(folder, manifest)

    def _sweep(self, stage: str, key: str) -> None:
        """Clear away what a writer left that was killed between publishing and leaving."""
        lock = Lock(self.place(stage, key) / "lock")
        with suppress(OSError):
            if lock.acquire():
                clear_away(self.place(stage, key))
                lock.release()

    def _unwritable(self, name: str, error: Exception) -> StoreError:
        if is_full(error):
            return StoreError(
                f"{name}: no space left ({error}); free some in {self.root} and run again: what was done is kept as "
                "far as the last checkpoint"
            )
        return StoreError(f"store {self.root} cannot be written: {error}; choose another with --store")

    def _quarantine(self, folder: Path, reason: str) -> None:
        target = self.root / "quarantine" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # somebody has removed it
            folder.rename(target)
            logger.warning("%s/%s: %s; moved to %s, computed again", folder.parent.name, folder.name, reason, target)


class DamagedArtifact(Exception):
    """An artifact that must not be used, and why."""


def verify(folder: Path) -> Manifest:
    """The manifest of an artifact whose every byte is as it says.

    Raises:
        DamagedArtifact: one is not.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise DamagedArtifact("it is no folder")
    try:
        manifest = Manifest.read(folder)
    except ValueError as error:
        raise DamagedArtifact(str(error)) from error
    if (manifest.stage, manifest.key) != (folder.parent.name, folder.name):
        raise DamagedArtifact(f"its manifest is that of {manifest.stage}/{manifest.key}")
    if [file.name for file in manifest.files] != list_files(folder):
        raise DamagedArtifact("its files are not those of its manifest")
    for file in manifest.files:
        path = folder / file.name
        if plain_size(path) != file.size or sha256(path) != file.sha256:
            raise DamagedArtifact(f"{file.name} has other bytes than its manifest says")
    return manifest


def check_inputs(manifest: Manifest, inputs: Mapping[str, Input] | None) -> None:
    """See that an artifact was made from the bytes that `inputs` says, if it says any.

    Raises:
        DamagedArtifact: it was made from others.
    """
    if inputs is not None and manifest.inputs != dict(inputs):
        stale = [name for name in manifest.inputs if manifest.inputs[name] != inputs.get(name)]
        raise DamagedArtifact(f"it was made from other bytes of {', '.join(stale) or 'its inputs'}")
