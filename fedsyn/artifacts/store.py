"""The store: `<root>/<stage>/<key>/` holds a stage's files and its manifest.

Published whole or not at all (a temporary sibling, flushed, renamed), and trusted never: opening an artifact
checks every byte, and one that fails is moved to `<root>/quarantine/`.
"""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.manifest import Input, Manifest, list_files, sha256

logger = logging.getLogger(__name__)


class StoreError(Exception):
    """The store cannot be used as asked; the message says what to change."""


class Artifact(Folder):
    """A verified artifact, opened for reading."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        super().__init__(root)
        self.manifest = manifest


class Store:
    """A folder of artifacts.

    Raises:
        StoreError: `url` is not a local folder. Remote stores (any fsspec URL) are meant to fit behind this class.
    """

    def __init__(self, url: str | Path) -> None:
        text = str(url).removeprefix("file://")
        if "://" in text:
            raise StoreError(f"store must be a local folder or a file:// URL, got {text!r}")
        self.root = Path(text).expanduser().absolute()

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of `stage` and `key` lies or would lie."""
        return self.root / stage / key

    def find(self, stage: str, key: str, inputs: Mapping[str, Input] | None = None) -> Artifact | None:
        """The verified artifact, or None where there is none.

        A damaged one, or one that was made from other bytes of its inputs than `inputs` says, is moved to
        quarantine and None is returned, so that it is made again.

        Raises:
            StoreError: it cannot be read, for a reason that says nothing about it (permissions, open files, a network).
        """
        folder = self.folder(stage, key)
        if not os.path.lexists(folder):
            return None
        try:
            return self._open(folder, stage, key, inputs)
        except DamagedArtifact as damage:
            self._quarantine(folder, str(damage))
            return None
        except FileNotFoundError:  # another run has just moved it
            return None
        except OSError as error:  # says nothing about the artifact
            raise StoreError(f"artifact {stage}/{key} cannot be read: {error}; check the store {self.root}") from error

    def open(self, manifest: Manifest) -> Artifact:
        """The artifact that `manifest` names.

        Raises:
            StoreError: it is gone or damaged, or has other bytes than the manifest says.
        """
        artifact = self.find(manifest.stage, manifest.key, manifest.inputs)
        if artifact is None or artifact.manifest.digest != manifest.digest:
            raise StoreError(f"artifact {manifest.stage}/{manifest.key} is gone or has changed: run again to make it")
        return artifact

    @contextlib.contextmanager
    def draft(self, stage: str, key: str) -> Iterator[Folder]:
        """A temporary sibling of the artifact's folder, to write into and `publish`; removed in any case.

        Checkpoints of a stage in progress, and the lock that makes its writer the only one, belong around this.
        """
        try:
            parent = self.root / stage
            parent.mkdir(parents=True, exist_ok=True)
            draft = parent / f".draft-{key}-{uuid.uuid4().hex[:8]}"
            draft.mkdir()
        except OSError as error:
            raise StoreError(f"store {self.root} cannot be written: {error}; choose another with --store") from error
        try:
            yield Folder(draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def publish(self, draft: Folder, manifest: Manifest) -> Artifact:
        """Make the draft the artifact of its key, at once; where another run was faster, its artifact is kept."""
        (draft.root / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _flush(draft.root)
        folder = self.folder(manifest.stage, manifest.key)
        try:
            draft.root.rename(folder)
        except OSError:
            published = self.find(manifest.stage, manifest.key, manifest.inputs)
            if published is not None:
                return published
            draft.root.rename(folder)  # the one in the way was damaged and is in quarantine now
        _flush_folder(folder.parent)
        return Artifact(folder, manifest)

    def manifests(self, stage: str) -> Iterator[Manifest]:
        """The readable manifests of `stage`, unverified: for listings and summaries, never for computation."""
        for path in sorted((self.root / stage).glob("[0-9a-f]*/manifest.json")):
            with contextlib.suppress(ValidationError, OSError):
                yield Manifest.model_validate_json(path.read_text(encoding="utf-8"))

    def _open(self, folder: Path, stage: str, key: str, inputs: Mapping[str, Input] | None) -> Artifact:
        try:
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
            raise DamagedArtifact(f"its manifest cannot be read ({type(error).__name__})") from error
        if (manifest.stage, manifest.key) != (stage, key):
            raise DamagedArtifact(f"its manifest is that of {manifest.stage}/{manifest.key}")
        if [file.name for file in manifest.files] != list_files(folder):
            raise DamagedArtifact("its files are not those of its manifest")
        for file in manifest.files:
            path = folder / file.name
            if path.is_symlink() or path.stat().st_size != file.size or sha256(path) != file.sha256:
                raise DamagedArtifact(f"{file.name} has other bytes than its manifest says")
        if inputs is not None and manifest.inputs != dict(inputs):
            stale = [name for name in manifest.inputs if manifest.inputs[name] != inputs.get(name)]
            raise DamagedArtifact(f"it was made from other bytes of {', '.join(stale) or 'its inputs'}")
        return Artifact(folder, manifest)

    def _quarantine(self, folder: Path, reason: str) -> None:
        target = self.root / "quarantine" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(exist_ok=True)
        try:
            folder.rename(target)
        except FileNotFoundError:  # another run has moved it already
            return
        logger.warning("%s/%s: %s; moved to %s, computed again", folder.parent.name, folder.name, reason, target)


class DamagedArtifact(Exception):
    """An artifact that must not be used, and why."""


def _flush(root: Path) -> None:
    for path in root.rglob("*"):
        _flush_folder(path) if path.is_dir() else _flush_file(path)
    _flush_folder(root)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
