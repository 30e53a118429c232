"""From a URL to a store."""

from pathlib import Path

from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.remote import RemoteStore
from fedsyn.artifacts.store import Store

CACHE = "~/.cache/fedsyn"
CACHE_GIB = 20.0


def open_store(url: str | Path, cache: str | Path = CACHE, cache_gib: float = CACHE_GIB) -> Store:
    """The store in a folder, or below a URL (`s3://bucket/folder`, ...) of whose artifacts `cache` holds copies.

    Raises:
        StoreError: the URL cannot be used, a package for it is missing, or the cache cannot be written.
    """
    protocol, separator, path = str(url).partition("://")
    if not separator:
        return Store(url)
    if protocol == "file":
        return Store(path)
    return RemoteStore(Objects(str(url)), Path(cache).expanduser().absolute(), int(cache_gib * 2**30))
