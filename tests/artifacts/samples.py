"""A small artifact, attempts to make it, and what the store has put aside or left."""

from datetime import UTC, datetime
from pathlib import Path

from fedsyn.artifacts import Attempt, Folder, Input, Store

INPUT = Input(key="b" * 24, digest="c" * 64)


def write_three_files(folder: Folder) -> None:
    import torch

    folder.write_json("numbers", {"answer": 42})
    folder.write_tensors("model/weights", {"weight": torch.arange(6.0)})
    folder.path("notes.txt").write_text("a text long enough to lose a part of")


def attempt(**changes: object) -> Attempt:
    """An attempt that starts now."""
    fields: dict = {"device": "cpu", "threads": 1, "engine": "sequential", "libraries": {"numpy": "2.0"}}
    return Attempt(started=datetime.now(UTC), **fields | changes)


def quarantined(store: Store) -> list[str]:
    folder = store.root / "quarantine"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def in_progress(store: Store) -> list[Path]:
    """Everything that lies where stages in progress do."""
    return sorted((store.root / "in_progress").rglob("*"))
