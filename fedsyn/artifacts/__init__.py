"""The content-addressed store: plain folders, published whole, verified when opened."""

from fedsyn.artifacts.folder import Folder
from fedsyn.artifacts.manifest import Input, Manifest
from fedsyn.artifacts.store import Artifact, Store, StoreError

__all__ = ["Artifact", "Folder", "Input", "Manifest", "Store", "StoreError"]
