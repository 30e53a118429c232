"""The content-addressed store: plain folders, published whole, verified when opened, made by one writer at a time."""

from fedsyn.artifacts.checkpoints import Checkpoints, Pace
from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.manifest import Attempt, Input, Manifest
from fedsyn.artifacts.store import Artifact, Store, StoreError

__all__ = ["Artifact", "Attempt", "Checkpoints", "Folder", "Input", "Manifest", "Pace", "Store", "StoreError"]
