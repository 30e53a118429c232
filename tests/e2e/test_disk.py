"""A disk that is full at any page, or read-only: an error that says what to do, nothing half-made, and it goes on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsyn.artifacts import Store
from tests.e2e.killing import (
    PLAIN,
    Run,
    attempts,
    copy_until,
    differing,
    kept,
    lasting,
    leftovers,
    options,
)

pytestmark = pytest.mark.e2e
PLENTY = 100_000
"""Pages that a run does not need."""


class Disk:
    """A small disk in memory, whose room can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        self._call("mount", "-t", "tmpfs", "-o", f"size=256m,uid={os.getuid()}", "none", str(folder))

    def leave(self, pages: int) -> None:
        """Change its size so that so many pages are free."""
        state = os.statvfs(self.folder)
        size = (state.f_blocks - state.f_bfree + pages) * state.f_frsize
        self._call("mount", "-o", f"remount,rw,size={size}", str(self.folder))

    def protect(self) -> None:
        """Allow no more writing."""
        self._call("mount", "-o", "remount,ro", str(self.folder))

    def remove(self) -> None:
        self._call("umount", "-l", str(self.folder))

    def _call(self, *command: str) -> None:
        subprocess.run([*self._as_root, *command], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = Disk(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a small disk needs root on Linux: {error}")
    yield disk
    disk.remove()


def sound(store: Path, stage: str) -> None:
    """Nothing is half-published, and of the stage there are whole checkpoints, if anything."""
    assert [name for name in Store(store).names() if Store(store).check(*name) is not None] == []
    place = next(store.glob(f"in_progress/{stage}-*"), store)
    assert [
        name
        for name in ("draft", "checkpoints/partial.safetensors", "checkpoints/partial.parquet")
        if (place / name).exists()
    ] == []
    assert not (store / "quarantine").exists()


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(disk, server, reference, tmp_path):
    """In several stages the room grows by some pages from run to run: it runs out in a lock, a record, a checkpoint, a
    file of the stage, or its manifest, until there is enough of it."""
    store = disk.folder / "store"
    for stage, step in [("partition", 1), ("autoencoder", 4), ("synthesis", 10)]:
        disk.leave(PLENTY)
        shutil.rmtree(store / "in_progress", ignore_errors=True)  # of the stage that comes now, for one
        copy_until(reference.store, store, stage)
        room, course = 0, [0]
        while stage not in attempts(store):
            disk.leave(room)
            with server.start(options(store), tmp_path / f"log-{stage}-{room}") as run:
                assert run.ended() == 2, run.said()
                error = re.search(
                    r"^error: .*no space left \((.*)\); free some in .*/store and run again", run.said(), re.M
                )
                assert error is not None, run.said()
                print(f"{stage}, {room} pages: {error[1]}")
            sound(store, stage)
            if stage not in attempts(store):
                course.append(kept(store, stage))
            room += step
        print(f"{stage}: kept as the room grew: {course}")
        assert len(course) > 5
        assert course == sorted(course), "a full disk has cost a checkpoint"
        if stage != "partition":
            assert course[-1] > 0
            assert attempts(store)[stage] > 1
    disk.leave(PLENTY)
    with server.start(options(store), tmp_path / "log") as run:
        assert run.ended() == 0, run.said()
    assert differing(store, reference.store) == []
    assert lasting(store) == lasting(reference.store)
    assert leftovers(store) == []


def test_a_read_only_store_serves_what_it_holds_and_refuses_the_rest(disk, server, reference, tmp_path):
    store = disk.folder / "store"
    shutil.copytree(reference.store, store)
    disk.protect()
    with server.start(options(store), tmp_path / "log-all") as run:
        assert run.outcome()["computed"] == []
    disk.leave(PLENTY)
    shutil.rmtree(store / "latents")
    disk.protect()
    with server.start(options(store), tmp_path / "log-missing") as run:
        assert run.ended() == 2
        assert re.search(
            r"^error: store .*/store cannot be written: .*Read-only file system.*; choose another with --store$",
            run.said(),
            re.M,
        ), run.said()


def test_a_file_larger_than_allowed_is_named_and_the_run_goes_on_from_its_checkpoints(server, reference, tmp_path):
    """A limit on the size of files, as on some shared machines: the parts of a generation fit, the whole does not."""
    store, limit = tmp_path / "store", ["sh", "-c", 'ulimit -f 128 && exec "$@"', "sh"]  # 64 KiB
    copy_until(reference.store, store, "synthesis")
    with Run([*limit, *PLAIN, *options(store)], tmp_path / "log") as run:
        assert run.ended() == 2, run.said()
        assert "no space left" in run.said()
        assert "File too large" in run.said()
    sound(store, "synthesis")
    assert kept(store, "synthesis") > 0
    with server.start(options(store), tmp_path / "log-again") as run:
        assert run.ended() == 0, run.said()
    assert attempts(store)["synthesis"] == 2
    assert differing(store, reference.store) == []
