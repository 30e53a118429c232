"""The manifest: the proof that an artifact is whole, and the record of where it came from.

In `manifest.json` a last field, `sha256`, covers every byte before it: an edited manifest is no proof.
"""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fedsyn.artifacts.files import list_files, read_plain, sha256

LARGEST = 16 * 2**20
"""Bytes beyond which a file is no manifest and is not read."""

COMPONENT = r"(\.*[^./\\][^/\\]*|\.{3,})"
"""Of a path that stays inside its folder: not empty, not `.`, not `..`, no slash or backslash."""

SEAL = ',\n  "sha256": "'


class FileEntry(BaseModel):
    """Name (relative to the artifact's folder, with slashes), size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=rf"^{COMPONENT}(/{COMPONENT})*$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Input(BaseModel):
    """An input as it was read: its key says what it is, its digest which bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    digest: str


class Attempt(BaseModel):
    """One run of a stage: when it started, on what, with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: datetime
    device: str
    threads: int
    engine: str
    libraries: dict[str, str]

    def circumstances(self) -> dict[str, str]:
        """What may change the last bits of a result."""
        return {"device": self.device, "threads": str(self.threads), "engine": self.engine, **self.libraries}


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
    attempts: tuple[Attempt, ...] = Field(min_length=1)
    """The run that finished the stage is the last; those before it left the checkpoints that it went on from."""
    seconds: float
    """Wall-clock seconds of work in the result, those of earlier attempts included."""
    finished: datetime
    metrics: dict[str, float]
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files: equal digests mean equal bytes."""
        listing = json.dumps([[file.name, file.size, file.sha256] for file in self.files])
        return hashlib.sha256(listing.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def sealed(self) -> str:
        """The text of `manifest.json`: indented JSON whose last field is the SHA-256 of what stands before it."""
        body = self.model_dump_json(indent=2).removesuffix("\n}")
        return f'{body}{SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'

    @staticmethod
    def read(folder: Path | str) -> "Manifest":
        """The manifest of an artifact's folder.

        Raises:
            ValueError: it is not there, not a plain file, too large, damaged, or not a manifest.
        """
        content = read_plain(f"{folder}/manifest.json", LARGEST)
        if content is None:
            raise ValueError(f"it has no manifest that is a plain file of at most {LARGEST:,} bytes")
        return Manifest.unsealed(content)

    @staticmethod
    def unsealed(content: bytes) -> "Manifest":
        """The manifest that `sealed` wrote.

        Raises:
            ValueError: it is damaged, or not a manifest.
        """
        body, found, seal = content.rpartition(SEAL.encode())
        if not found or seal != f'{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode():
            raise ValueError("its manifest is damaged or was edited")
        try:
            return Manifest.model_validate_json(body + b"\n}")
        except ValueError as error:  # whole, but of another version of fedsyn, or not a manifest
            raise ValueError("its manifest cannot be understood") from error


def input_name(role: str, stage: str) -> str:
    """What an input is recorded as: `classifier`, or `retrain/classifier` where another stage has made it."""
    return role if role == stage else f"{stage}/{role}"


def stage_of(input_name: str) -> str:
    """The stage that an input comes from: its name, or what stands before the slash."""
    return input_name.partition("/")[0]


def role_of(input_name: str) -> str:
    """What an input is for the stage that reads it: its name, or what stands behind the slash."""
    stage, _, role = input_name.partition("/")
    return role or stage


def describe(root: Path) -> tuple[FileEntry, ...]:
    """The entries of all files below `root`."""
    return tuple(
        FileEntry(name=name, size=(root / name).stat().st_size, sha256=sha256(root / name)) for name in list_files(root)
    )
