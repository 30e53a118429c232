"""Files as the store needs them: hashed, flushed, listed without following links, written at once."""

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

UMASK = os.umask(0)
os.umask(UMASK)


def share(path: Path) -> None:
    """Let others read a file as the process's umask says; safetensors makes files for their owner alone."""
    path.chmod(0o666 & ~UMASK)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(root: Path) -> list[str]:
    """Names of all files below `root` but the manifest's, sorted; symbolic links count as files."""
    paths = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in paths if (name := path.relative_to(root).as_posix()) != "manifest.json")


def plain_size(path: Path) -> int | None:
    """The size in bytes of a regular file; None for anything else (a link, a folder, a pipe) and for nothing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def total_size(root: Path) -> int:
    """Bytes of all files below `root`."""
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_plain(path: str, largest: int) -> bytes | None:
    """The content of a regular file of at most `largest` bytes; None for anything else and for nothing."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR):  # a link, a socket, a file for a folder
            return None
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
            return None
        return os.read(file, status.st_size)
    finally:
        os.close(file)


def write_at_once(path: Path, text: str) -> None:
    """Put `text` into `path`: a reader sees all of it or what was there before."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    flush_file(partial)
    partial.rename(path)


def flush_tree(root: Path) -> None:
    """Have the disk hold every file and folder below `root`."""
    for path in root.rglob("*"):
        flush_folder(path) if path.is_dir() else flush_file(path)
    flush_folder(root)


def flush_file(path: Path) -> None:
    """Have the disk hold a file's content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Have the disk hold a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
