"""The content-addressed store: folders, here or elsewhere, published whole, verified when opened, one writer a key."""

from fedsyn.artifacts.checkpoints import Checkpoints, Pace
from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.manifest import Attempt, Input, Manifest
from fedsyn.artifacts.opening import open_store
from fedsyn.artifacts.store import Artifact, Store, StoreError, StoreUnavailable

__all__ = [
    "Artifact",
    "Attempt",
    "Checkpoints",
    "Folder",
    "Input",
    "Manifest",
    "Pace",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "open_store",
]
