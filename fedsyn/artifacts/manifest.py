"""The manifest: the proof that an artifact is whole, and the record of where it came from."""

import hashlib
import json
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class FileEntry(BaseModel):
    """Name (relative to the artifact's folder, with slashes), size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
            raise ValueError(f"file name must be a plain relative path, got {name!r}")
        return name


class Input(BaseModel):
    """An input as it was read: its key says what it is, its digest which bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    digest: str


class Manifest(BaseModel):
    """`manifest.json` of an artifact. Small and serialisable: tasks hand over manifests, never tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    stage: str
    version: int
    key: str
    config: dict[str, Any]
    seed: int
    inputs: dict[str, Input]
    fingerprint: str | None
    libraries: dict[str, str]
    device: str
    threads: int
    engine: str = "sequential"
    started: datetime
    finished: datetime
    metrics: dict[str, float]
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files: equal digests mean equal bytes."""
        listing = json.dumps([[file.name, file.size, file.sha256] for file in self.files])
        return hashlib.sha256(listing.encode()).hexdigest()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the stage took."""
        return (self.finished - self.started).total_seconds()


def list_files(root: Path) -> list[str]:
    """Names of all files below `root` but the manifest's, sorted; symbolic links count as files."""
    paths = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in paths if (name := path.relative_to(root).as_posix()) != "manifest.json")


def describe(root: Path) -> tuple[FileEntry, ...]:
    """The entries of all files below `root`."""
    return tuple(
        FileEntry(name=name, size=(root / name).stat().st_size, sha256=sha256(root / name)) for name in list_files(root)
    )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
