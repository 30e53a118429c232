"""What is in a user's own file or folder, as a hash: the same content elsewhere is the same input."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def content_hash(path: Path, field: str) -> str:
    """SHA-256 over the file, or over the names and contents of all files of the folder.

    Raises:
        ValueError: there is nothing readable at `path`; the message names `field`.
    """
    files = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
    if not files:
        raise ValueError(f"{field} must be a file or folder that can be read, got {str(path)!r}")
    whole = hashlib.sha256()
    for file in files:
        stat = file.stat()
        name = "" if file == path else file.relative_to(path).as_posix()
        whole.update(f"{name}\0{_file_hash(file, stat.st_mtime_ns, stat.st_size)}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=4096)
def _file_hash(path: os.PathLike[str], _changed: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
