"""The checkpoints of a stage in progress, kept in the remote store too: a pre-empted machine may lose its disk."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from fedsyn.artifacts.checkpoints import NAME, Mirror
from fedsyn.artifacts.files import remove
from fedsyn.artifacts.lease import Lease
from fedsyn.artifacts.manifest import LARGEST
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.store import StoreError

logger = logging.getLogger(__name__)

THERE = re.compile(rf"(?P<written>\d{{1,19}})/(?P<name>{NAME.pattern})")


class RemoteMirror(Mirror):
    """Keeps `<url>/<folder>/record.json` and `<url>/<folder>/checkpoints/` as they are in `place`.

    There a checkpoint lies in a folder that is named after the nanosecond in which it was written, by the clock that
    the record's times come from.
    """

    def __init__(self, objects: Objects, folder: str, place: Path, lease: Lease) -> None:
        self.objects, self.folder, self.place, self.lease = objects, folder, place, lease
        self._there: dict[str, str] = {}

    def fetch(self) -> None:
        """Bring here what the last writer has kept, on whichever machine that was.

        Raises:
            StoreError: the remote store cannot be reached.
            OSError: the disk is full.
        """
        record = self.place / "record.json"
        content = self.objects.read(f"{self.folder}/record.json", LARGEST)
        if content is not None and not (record.is_file() and record.read_bytes() == content):
            remove(self.place / "checkpoints")  # what lies here is of an earlier writer
            record.write_bytes(content)
        found = [match for name in self.objects.sizes(f"{self.folder}/checkpoints") if (match := THERE.fullmatch(name))]
        self._there = {match["name"]: f"{self.folder}/checkpoints/{match[0]}" for match in found}
        here = self._here()
        for match in found:
            path = self.place / "checkpoints" / match["name"]
            if path.name not in here:
                partial = path.with_name(f"{path.name}.partial")
                with suppress(FileNotFoundError):  # its writer, about to find its lease lost, has dropped it
                    self.objects.get({self._there[path.name]: partial})
                    os.utime(partial, ns=(int(match["written"]), int(match["written"])))
                    partial.rename(path)

    def begun(self) -> None:
        """First what the record does not speak of goes, then the record comes.

        Raises:
            StoreError: the remote store cannot be reached. Checkpoints beside a record of other inputs would be wrong.
        """
        self._update()
        self.objects.put(self.place / "record.json", f"{self.folder}/record.json", replace=True)

    def kept(self) -> None:
        """What cannot be sent now is sent with the next checkpoint: a network may fail for a while.

        Raises:
            StoreError: another run has taken the work over.
        """
        self.lease.check()
        try:
            self._update()
        except StoreError as error:
            logger.warning("the last checkpoint is kept on this machine only: %s", error)

    def drop(self) -> None:
        """Delete all of it."""
        for name in self.objects.sizes(f"{self.folder}/checkpoints"):
            self.objects.delete(f"{self.folder}/checkpoints/{name}")
        self.objects.delete(f"{self.folder}/record.json")

    def _update(self) -> None:
        """Make the checkpoints there those that are here: first the new ones come, then the old ones go."""
        here = self._here()
        for name in sorted(here - self._there.keys()):
            path = self.place / "checkpoints" / name
            there = f"{self.folder}/checkpoints/{path.stat().st_mtime_ns}/{name}"
            self.objects.put(path, there, replace=True)
            self._there[name] = there
        for name in sorted(self._there.keys() - here):
            self.objects.delete(self._there[name])
            del self._there[name]

    def _here(self) -> set[str]:
        folder = self.place / "checkpoints"
        return {name for name in os.listdir(folder) if NAME.fullmatch(name)} if folder.is_dir() else set()
