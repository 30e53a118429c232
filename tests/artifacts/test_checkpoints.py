"""Checkpoints: what is kept is whole or not there, and what is damaged is done without."""

import hashlib
import os
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedsyn.artifacts import Checkpoints
from tests.processes import python, said

INTERVALS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8)


def save(checkpoints: Checkpoints, start: int, stop: int) -> Path:
    """Keep units [start, stop); returns the file."""
    checkpoints.save(start, stop, "txt", lambda path: path.write_text(f"units {start} to {stop}"))
    (path,) = checkpoints.folder.glob(f"{start:09d}-{stop:09d}-*")
    return path


def intervals(checkpoints: Checkpoints) -> list[tuple[int, int]]:
    return [(found.start, found.stop) for found in checkpoints.chain()]


def reach(parts: set[tuple[int, int]], done: int = 0) -> int:
    """The largest n such that some of `parts`, end to end, cover [0, n)."""
    return max((reach(parts, stop) for start, stop in parts if start == done < stop), default=done)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


# --- what is kept ---


def test_where_nothing_was_kept_there_is_nothing(checkpoints):
    assert (checkpoints.chain(), checkpoints.units(), checkpoints.newest()) == ([], 0, None)
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_what_was_kept_is_found_by_who_comes_next(checkpoints):
    path = save(checkpoints, 0, 5)
    (found,) = Checkpoints(checkpoints.folder).chain()
    assert (found.path, found.start, found.stop) == (path, 0, 5)
    assert found.path.read_text() == "units 0 to 5"
    assert Checkpoints(checkpoints.folder).newest() == path.stat().st_mtime
    checkpoints.clear()
    assert os.listdir(checkpoints.folder) == []


def test_a_state_replaces_the_earlier_ones(checkpoints):
    for stop in (3, 5, 12):
        save(checkpoints, 0, stop)
    assert [path.name[:19] for path in checkpoints.folder.iterdir()] == ["000000000-000000012"]


def test_parts_stay_beside_each_other(checkpoints):
    for start, stop in ((0, 3), (3, 5), (5, 12)):
        save(checkpoints, start, stop)
    assert intervals(checkpoints) == [(0, 3), (3, 5), (5, 12)]
    assert checkpoints.units() == 12


def test_a_part_replaces_those_that_lie_in_it_and_no_other(checkpoints):
    for start, stop in ((0, 3), (3, 5), (5, 7), (7, 9), (3, 7)):
        save(checkpoints, start, stop)
    assert sorted(path.name[:19] for path in checkpoints.folder.iterdir()) == [
        "000000000-000000003",
        "000000003-000000007",
        "000000007-000000009",
    ]


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_ones(checkpoints):
    save(checkpoints, 0, 3)

    def fail(path: Path) -> None:
        path.write_text("half a ch")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(0, 5, "txt", fail)
    assert intervals(checkpoints) == [(0, 3)]
    save(checkpoints, 0, 6)
    assert intervals(checkpoints) == [(0, 6)]
    assert len(os.listdir(checkpoints.folder)) == 1


@settings(max_examples=150)
@given(INTERVALS)
@example({(0, 3), (0, 5), (3, 10)})  # who takes the longest step first is stuck at 5
def test_the_chain_covers_as_much_as_any_could(kept):
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        for start, stop in kept:  # as they may lie there, whoever has kept them
            content = f"units {start} to {stop}".encode()
            name = f"{start:09d}-{stop:09d}-{hashlib.sha256(content).hexdigest()}.txt"
            (checkpoints.folder / name).write_bytes(content)
        chain = intervals(checkpoints)
        assert set(chain) <= kept
        edges = [0, *(stop for _, stop in chain)]
        assert chain == list(pairwise(edges))
        assert edges == sorted(set(edges))
        assert edges[-1] == reach(kept)


# --- damage ---


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, 4)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def rename(path: Path) -> None:
    """As if its content were another's."""
    path.rename(path.with_name(path.name[:20] + "0" * 64 + ".txt"))


def link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.unlink()
    (path / "deep").mkdir(parents=True)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_an_endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = [flip, truncate, empty, rename, link, dangle, folder, pipe, link_to_an_endless_device]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("place", "rest"), [(0, []), (1, [(0, 3)]), (2, [(0, 3), (3, 5)])])
def test_a_damaged_checkpoint_is_dropped_by_name_and_the_chain_ends_before_it(checkpoints, damage, place, rest, caplog):
    paths = [save(checkpoints, start, stop) for start, stop in ((0, 3), (3, 5), (5, 12))]
    damage(paths[place])
    assert checkpoints.newest() is not None
    assert intervals(checkpoints) == rest
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"checkpoint {checkpoints.folder}/{paths[place].name[:19]}-")
    assert message.endswith("is damaged; going on without it")
    assert len(os.listdir(checkpoints.folder)) == 2
    save(checkpoints, *((0, 3), (3, 5), (5, 12))[place])
    assert intervals(checkpoints) == [(0, 3), (3, 5), (5, 12)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_can_be_dropped_unread(checkpoints, damage):
    damage(save(checkpoints, 0, 3))
    checkpoints.clear()
    assert os.listdir(checkpoints.folder) == []


def test_without_the_last_state_the_one_before_it_is_gone_on_from(checkpoints):
    """As after a kill between keeping a state and dropping the one before."""
    earlier = save(Checkpoints(checkpoints.folder.with_name("earlier")), 0, 3)
    last = save(checkpoints, 0, 5)
    shutil.move(earlier, checkpoints.folder)
    assert intervals(checkpoints) == [(0, 5)]
    flip(last)
    assert intervals(checkpoints) == [(0, 3)]


@pytest.mark.parametrize("name", ["partial.txt", "notes", "000000000-000000003-abc.txt", "0-3-" + "0" * 64 + ".txt"])
def test_a_file_of_another_name_is_no_checkpoint(checkpoints, name):
    save(checkpoints, 0, 3)
    (checkpoints.folder / name).write_text("something")
    assert intervals(checkpoints) == [(0, 3)]
    assert checkpoints.units() == 3
    checkpoints.clear()
    assert os.listdir(checkpoints.folder) == [name]


HALF = """
import sys
from pathlib import Path
from fedsyn.artifacts import Checkpoints
def write(path):
    path.write_bytes(b"half of it")
    print("writing", flush=True)
    input()
Checkpoints(Path(sys.argv[1])).save(0, 5, "txt", write)
"""


def test_killed_in_the_middle_of_writing_one_the_one_before_it_is_gone_on_from(checkpoints, caplog):
    save(checkpoints, 0, 3)
    with python(HALF, checkpoints.folder) as child:
        assert said(child) == "writing"
        child.kill()
    assert len(os.listdir(checkpoints.folder)) == 2
    assert (intervals(checkpoints), checkpoints.units()) == ([(0, 3)], 3)
    assert caplog.records == []
    save(checkpoints, 0, 5)
    assert intervals(checkpoints) == [(0, 5)]
    assert len(os.listdir(checkpoints.folder)) == 1


SAVER = """
import sys
from pathlib import Path
from fedsyn.artifacts import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
for stop in range(1, 1_000_000):
    checkpoints.save(0, stop, "bin", lambda path: path.write_bytes(stop.to_bytes(4, "big") * 500_000))
    print(stop, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.01])
def test_killed_at_any_instant_the_last_state_that_was_kept_is_whole(checkpoints, delay, caplog):
    with python(SAVER, checkpoints.folder) as child:
        while int(said(child)) < 5:
            pass
        time.sleep(delay)  # somewhere in the next one
        child.kill()
        child.wait()
        kept = [5, *map(int, child.stdout.read().split())][-1]
    (found,) = checkpoints.chain()
    assert found.stop in (kept, kept + 1)
    assert found.path.read_bytes() == found.stop.to_bytes(4, "big") * 500_000
    assert caplog.records == []  # nothing was damaged
    checkpoints.save(0, found.stop + 1, "bin", lambda path: path.write_bytes(b"next"))
    assert len(os.listdir(checkpoints.folder)) == 1
