"""A new folder that is there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedsyn.artifacts.files import UMASK, flush_tree


class ExportError(Exception):
    """What was asked for cannot be exported; the message says what to change."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` to write into, which becomes `target` at the end; an error leaves nothing.

    Raises:
        ExportError: `target` is there and is not an empty folder.
        OSError: it cannot be written.
    """
    target = target.expanduser().absolute()
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ExportError(f"--to must name a folder that is empty or not there yet, got {target}; name another")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o777 & ~UMASK)  # mkdtemp makes folders for their owner alone
        flush_tree(draft)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
