"""An artifact on its way to a remote store and back: uploaded whole, its manifest last; trusted never."""

import logging
import uuid
from pathlib import Path

from fedsyn.artifacts.lease import Lease
from fedsyn.artifacts.manifest import LARGEST, Manifest
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.store import Artifact, DamagedArtifact, verify

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def read_manifest(objects: Objects, stage: str, key: str) -> Manifest | None:
    """The manifest of an artifact in the remote store, its files unverified; None where there is none.

    Raises:
        DamagedArtifact: it is no manifest, or another's.
        StoreError: the remote store cannot be reached.
    """
    content = objects.read(f"{stage}/{key}/{MANIFEST}", LARGEST)
    return None if content is None else parse(stage, key, content)


def parse(stage: str, key: str, content: bytes) -> Manifest:
    """The manifest of this stage and key that `content` is.

    Raises:
        DamagedArtifact: it is none, or another's.
    """
    if len(content) > LARGEST:
        raise DamagedArtifact(f"its manifest has more than {LARGEST:,} bytes")
    try:
        manifest = Manifest.unsealed(content)
    except ValueError as error:
        raise DamagedArtifact(str(error)) from error
    if (manifest.stage, manifest.key) != (stage, key):
        raise DamagedArtifact(f"its manifest is that of {manifest.stage}/{manifest.key}")
    return manifest


def download(objects: Objects, manifest: Manifest, folder: Path) -> None:
    """Copy an artifact into `folder`, `<any>/<stage>/<key>`, and check every byte.

    Raises:
        DamagedArtifact: what is there is not what the manifest says. Where sizes tell, nothing is copied.
        StoreError: the remote store cannot be reached.
        OSError: the disk is full.
    """
    place = f"{manifest.stage}/{manifest.key}"
    sizes = objects.sizes(place)
    sizes.pop(MANIFEST, None)
    if sizes != {file.name: file.size for file in manifest.files}:
        raise DamagedArtifact("its files are not those of its manifest")
    try:
        objects.get({f"{place}/{name}": folder / name for name in [*sizes, MANIFEST]})
    except FileNotFoundError as error:
        raise DamagedArtifact("a file of it has just gone") from error
    if verify(folder).sealed() != manifest.sealed():
        raise DamagedArtifact("its manifest has just been replaced")


def upload(objects: Objects, artifact: Artifact, lease: Lease) -> bool:
    """Copy an artifact into the remote store. Returns whether that has it now; otherwise there is another's.

    Raises:
        StoreError: the remote store cannot be reached, or the lease is lost.
        OSError: a file cannot be read.
    """
    manifest = artifact.manifest
    place = f"{manifest.stage}/{manifest.key}"
    lease.confirm()
    torn = objects.sizes(place)
    if MANIFEST in torn:
        return objects.read(f"{place}/{MANIFEST}", LARGEST) == manifest.sealed().encode()
    for name in torn:
        objects.delete(f"{place}/{name}")
    for file in manifest.files:
        lease.check()
        if not objects.put(artifact.root / file.name, f"{place}/{file.name}"):  # by one who has lost the lease since
            lease.confirm()
            objects.put(artifact.root / file.name, f"{place}/{file.name}", replace=True)
    lease.confirm()
    return objects.create(f"{place}/{MANIFEST}", manifest.sealed().encode())


def put_aside(objects: Objects, stage: str, key: str, reason: str) -> None:
    """Move a damaged artifact to quarantine, its manifest first, so that nobody finds it from then on.

    Raises:
        StoreError: the remote store cannot be reached.
    """
    place, target = f"{stage}/{key}", f"quarantine/{stage}-{key}-{uuid.uuid4().hex[:8]}"
    for name in sorted(objects.sizes(place), key=lambda name: name != MANIFEST):
        objects.copy(f"{place}/{name}", f"{target}/{name}")
        objects.delete(f"{place}/{name}")
    logger.warning("%s: %s; moved to %s/%s, made again", place, reason, objects.url, target)
