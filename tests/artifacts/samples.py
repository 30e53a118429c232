"""A small artifact, and what the store has put aside."""

from pathlib import Path

import torch

from fedsyn.artifacts import Folder, Input, Store

INPUT = Input(key="b" * 24, digest="c" * 64)


def write_three_files(folder: Folder) -> None:
    folder.write_json("numbers", {"answer": 42})
    folder.write_tensors("model/weights", {"weight": torch.arange(6.0)})
    folder.path("notes.txt").write_text("a text long enough to lose a part of")


def quarantined(store: Store) -> list[str]:
    folder = store.root / "quarantine"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def drafts(store: Store) -> list[Path]:
    return list(store.root.glob("*/.draft-*"))
