"""A store below a URL: made and read on this machine, kept on another.

The remote store is laid out like a local one, and it alone says what there is. An artifact is made in a local folder,
the cache, and uploaded whole, its manifest last; it is read by downloading it there once, where every byte is checked.
A torn upload has no manifest, and so is not there.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fedsyn.artifacts.cache import MARK, delete, shrink, touch, unsent
from fedsyn.artifacts.checkpoints import Pace
from fedsyn.artifacts.files import remove
from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.lease import Lease
from fedsyn.artifacts.lock import Lock
from fedsyn.artifacts.manifest import LARGEST, Input, Manifest
from fedsyn.artifacts.mirror import RemoteMirror
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.store import KEY, Artifact, DamagedArtifact, Store, StoreError, check_inputs
from fedsyn.artifacts.transfer import download, parse, put_aside, read_manifest, upload
from fedsyn.artifacts.work import Work, clear_away, held, is_full

logger = logging.getLogger(__name__)

LEASE = 15.0
"""Seconds without a sign of life after which a writer on another machine is taken for dead."""


class RemoteStore(Store):
    """Artifacts below a URL. `root`, in `cache`, is the folder of their local copies; `cache` keeps `limit` bytes."""

    def __init__(self, objects: Objects, cache: Path, limit: int, lease: float = LEASE) -> None:
        """
        Raises:
            StoreError: the cache cannot be written.
        """
        readable = re.sub(r"\W+", "-", objects.url)[:60].strip("-")
        super().__init__(cache / f"{readable}-{hashlib.sha256(objects.url.encode()).hexdigest()[:8]}")
        self.objects, self.limit, self.lease = objects, limit, lease
        self._leases: dict[tuple[str, str], Lease] = {}
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not (self.root / MARK).exists():
                (self.root / MARK).write_text(objects.url, encoding="utf-8")
        except OSError as error:
            raise self._unwritable(objects.url, error) from error

    def find(self, stage: str, key: str, inputs: Mapping[str, Input] | None = None) -> Artifact | None:
        """The verified artifact, a local copy of it, or None where there is none.

        A damaged one, or one that was made from other bytes of its inputs than `inputs` says, is moved to
        quarantine in the remote store and None is returned, so that it is made again.

        Raises:
            StoreError: the remote store cannot be reached, or the cache not be written.
        """
        try:
            found = self._fetched(stage, key, inputs)
            if found is not None and self.place(stage, key).exists():
                self._sweep(stage, key)
            return found
        except DamagedArtifact:  # looked at again, and moved, by one alone
            with self.work(stage, key):
                return self.heal(stage, key, inputs)

    @contextmanager
    def work(self, stage: str, key: str, pace: Pace = Pace()) -> Iterator[Work]:  # noqa: B008 (frozen)
        """Be the one writer of a key on all machines; wait for the one who is.

        What an earlier writer kept as checkpoints, on whichever machine, is there.

        Raises:
            StoreError: the remote store cannot be reached, or the cache not be written.
            Interrupted: a signal asked to stop while this waited.
        """
        folder = f"in_progress/{stage}-{key}"
        lease = Lease(self.objects, f"{folder}/lease", self.lease)
        with super().work(stage, key, pace) as work, lease.held(f"{stage}/{key}"):
            mirror = RemoteMirror(self.objects, folder, work.place, lease)
            mirror.fetch()
            work.checkpoints.mirror = mirror
            self._leases[stage, key] = lease
            try:
                yield work
            finally:
                del self._leases[stage, key]
                published = self.folder(stage, key).exists() and not unsent(self, stage, key).exists()
                if published or work.checkpoints.newest() is None:
                    with suppress(StoreError):  # not worth an error
                        lease.check()
                        mirror.drop()

    def heal(self, stage: str, key: str, inputs: Mapping[str, Input] | None = None) -> Artifact | None:
        """`find`, for the key's writer: moves a damaged artifact to quarantine itself.

        What this machine has made of the same inputs and the remote store lacks, because an upload was cut short or its
        copy there is damaged, is uploaded and not made again.
        """
        damaged = False
        try:
            found = self._fetched(stage, key, inputs)
            if found is not None:
                return found
        except DamagedArtifact as damage:
            damaged = True
            put_aside(self.objects, stage, key, str(damage))
        copy = self._copy(stage, key, inputs)
        if copy is not None and (damaged or unsent(self, stage, key).exists()):
            return self._send(copy)
        return None

    def publish(self, draft: Folder, manifest: Manifest) -> Artifact:
        """Make the draft of `work` the artifact of its key: on this machine, then in the remote store.

        Raises:
            StoreError: the remote store cannot be reached, or another run has taken over; the artifact is on this
                machine, and its next run uploads it.
        """
        delete(self, manifest.stage, manifest.key)  # a copy of what is not in the remote store any more
        unsent(self, manifest.stage, manifest.key).touch()
        return self._send(super().publish(draft, manifest))

    def names(self, stage: str | None = None) -> Iterator[tuple[str, str]]:
        """Stage and key of all artifacts in the remote store (of `stage`), damaged ones too."""
        for name in [stage] if stage else self.objects.folders(""):
            if name not in ("in_progress", "quarantine"):
                yield from ((name, key) for key in self.objects.folders(name) if KEY.fullmatch(key))

    def manifests(self, stage: str | None = None) -> Iterator[Manifest]:
        """The readable manifests in the remote store (of `stage`), the files unverified."""
        names = {f"{name}/{key}/manifest.json": (name, key) for name, key in self.names(stage)}
        for name, content in self.objects.read_all(list(names), LARGEST):
            with suppress(DamagedArtifact):
                yield parse(*names[name], content)

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """A readable manifest in the remote store, the files unverified; None where there is none."""
        with suppress(DamagedArtifact):
            return read_manifest(self.objects, stage, key)
        return None

    def check(self, stage: str, key: str) -> str | None:
        """What is wrong with an artifact in the remote store, every byte of it downloaded; None where nothing is."""
        try:
            manifest = read_manifest(self.objects, stage, key)
            if manifest is not None:
                with self._downloading(stage, key) as folder:
                    download(self.objects, manifest, folder)
        except DamagedArtifact as damage:
            return str(damage)
        return None

    def _fetched(self, stage: str, key: str, inputs: Mapping[str, Input] | None) -> Artifact | None:
        """A verified copy of the artifact that the remote store has."""
        manifest = read_manifest(self.objects, stage, key)
        if manifest is None:
            return None
        check_inputs(manifest, inputs)
        copy = self._copy_of(manifest)
        if copy is None:
            with self._downloading(stage, key) as folder:
                copy = self._copy_of(manifest)  # another process may have fetched it meanwhile
                if copy is None:
                    download(self.objects, manifest, folder)
                    delete(self, stage, key)
                    copy = self._adopt(folder, manifest)
            self._shrink(copy)
        touch(copy.root)
        unsent(self, stage, key).unlink(missing_ok=True)
        return copy

    def _copy_of(self, manifest: Manifest) -> Artifact | None:
        """The verified local copy of just this artifact."""
        copy = self._copy(manifest.stage, manifest.key, None)
        return copy if copy is not None and copy.manifest.sealed() == manifest.sealed() else None

    def _copy(self, stage: str, key: str, inputs: Mapping[str, Input] | None) -> Artifact | None:
        """The verified local copy; a damaged one, or one of other inputs, is deleted."""
        try:
            return self._verified(stage, key, inputs)
        except DamagedArtifact as damage:
            logger.warning("%s/%s: its local copy is not used: %s", stage, key, damage)
            delete(self, stage, key)
            return None

    @contextmanager
    def _downloading(self, stage: str, key: str) -> Iterator[Path]:
        """A folder to download an artifact into, by one process at a time."""
        place = self.place(f"fetch-{stage}", key)
        try:
            with held(Lock(place / "lock"), f"{stage}/{key}"):
                remove(place / "files")
                try:
                    yield place / "files" / stage / key
                finally:
                    clear_away(place)
        except OSError as error:
            raise self._unwritable(f"{stage}/{key}", error) from error

    def _adopt(self, folder: Path, manifest: Manifest) -> Artifact:
        root = self.folder(manifest.stage, manifest.key)
        root.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(root)
        return Artifact(root, manifest)

    def _send(self, artifact: Artifact) -> Artifact:
        """Upload what lies in the cache; where the remote store has another's by now, that is the artifact."""
        manifest = artifact.manifest
        stage, key = manifest.stage, manifest.key
        if not upload(self.objects, artifact, self._leases[stage, key]):
            found = self.heal(stage, key, manifest.inputs)
            if found is None:
                raise StoreError(f"{stage}/{key}: another run has replaced it and taken it away; run again")
            return found
        unsent(self, stage, key).unlink(missing_ok=True)
        self._shrink(artifact)
        return artifact

    def _shrink(self, keep: Artifact) -> None:
        with suppress(OSError):  # a cache that cannot be cleaned is no reason to stop
            shrink(self.root.parent, self.limit, keep.root)

    def _unwritable(self, name: str, error: Exception) -> StoreError:
        if is_full(error):
            return super()._unwritable(name, error)
        return StoreError(f"cache {self.root} cannot be written: {error}; choose another folder, execution.cache")
