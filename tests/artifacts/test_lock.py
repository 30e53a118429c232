"""The lock: one holder at a time, among threads and processes, and freed by every death."""

import os
import signal
import socket
import threading
from contextlib import ExitStack

import pytest

from fedsyn.artifacts.lock import Holder, Lock, is_held
from fedsyn.artifacts.work import held
from tests.processes import python, said

HOLD = """
import sys
from pathlib import Path
from fedsyn.artifacts.lock import Lock
assert Lock(Path(sys.argv[1])).acquire(shared="shared" in sys.argv)
print("held", flush=True)
input()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "place" / "lock"


def test_of_two_threads_one_holds_it(path):
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    results = []
    thread = threading.Thread(target=lambda: results.append(second.acquire()))
    thread.start()
    thread.join()
    assert results == [False]
    first.release()
    assert second.acquire()


def test_of_two_processes_one_holds_it_until_it_lets_go(path):
    with python(HOLD, path) as child:
        assert said(child) == "held"
        assert not Lock(path).acquire()
        child.communicate("go\n")
        assert Lock(path).acquire()


def test_who_holds_it_can_be_read_by_people(path):
    with python(HOLD, path) as child:
        assert said(child) == "held"
        holder = Lock(path).holder()
        assert (holder.host, holder.pid) == (socket.gethostname(), child.pid)
        assert str(holder) == f"process {child.pid} on {socket.gethostname()} (since {holder.since})"
    lock = Lock(path)
    assert lock.acquire()
    assert (lock.holder().pid, lock.holder().since) == (os.getpid(), Holder.here().since)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"host": "a"}', "\0" * 100])
def test_a_holder_that_cannot_be_read_is_none(path, content):
    assert Lock(path).holder() is None
    path.parent.mkdir()
    path.write_text(content)
    assert Lock(path).holder() is None
    assert Lock(path).acquire()


def test_a_holder_that_is_killed_holds_it_no_longer_and_who_waits_takes_over(path):
    taken = threading.Event()

    def wait() -> None:
        with held(Lock(path), "stage/key"):
            taken.set()

    with python(HOLD, path) as child:
        assert said(child) == "held"
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert not taken.is_set()
        child.kill()
        assert taken.wait(60)
        thread.join()


def test_a_holder_that_is_stopped_still_holds_it(path):
    with python(HOLD, path) as child:
        assert said(child) == "held"
        child.send_signal(signal.SIGSTOP)
        assert not Lock(path).acquire()


def test_a_process_started_by_the_holder_does_not_inherit_it(path):
    code = """
import subprocess, sys
from pathlib import Path
from fedsyn.artifacts.lock import Lock
assert Lock(Path(sys.argv[1])).acquire()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
print(child.pid, flush=True)
input()
"""
    with python(code, path) as parent:
        child = int(said(parent))
        try:
            assert not Lock(path).acquire()
            parent.kill()
            parent.wait()
            os.kill(child, 0)  # it is alive
            assert Lock(path).acquire()
        finally:
            os.kill(child, signal.SIGKILL)


def test_sharers_hold_it_together_and_without_others(path):
    alone, one, other = Lock(path), Lock(path), Lock(path)
    assert one.acquire(shared=True)
    assert other.acquire(shared=True)
    with python(HOLD, path, "shared") as child:
        assert said(child) == "held"
    assert not alone.acquire()
    one.release()
    assert not alone.acquire()
    other.release()
    assert alone.acquire()
    assert not one.acquire(shared=True)


def test_looking_whether_it_is_held_leaves_everything_as_it_is(path):
    assert not is_held(path)
    assert not path.parent.exists()
    lock = Lock(path)
    assert lock.acquire()
    before = path.stat(), path.read_bytes()
    assert is_held(path)
    assert (path.stat(), path.read_bytes()) == before
    lock.release()
    assert not is_held(path)
    assert (path.stat(), path.read_bytes()) == before
    assert lock.acquire()


def test_a_lock_that_cannot_be_made_is_an_error_and_no_reason_to_wait(path):
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(NotADirectoryError):
        Lock(path).acquire()
    path.parent.unlink()
    path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        Lock(path).acquire()


HAMMER = """
import os, sys, threading, time, traceback
from contextlib import suppress
from pathlib import Path
from fedsyn.artifacts.lock import Lock

folder, threads, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
place = folder / "place"

def hammer():
    for _ in range(times):
        lock = Lock(place / "lock")
        while not lock.acquire():
            time.sleep(0.0005)
        os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # an error where two are inside
        count = int((folder / "count").read_text())
        time.sleep(0)
        (folder / "count").write_text(str(count + 1))
        (folder / "inside").unlink()
        if count % 3:  # as a writer that clears its place away
            lock.path.unlink()
            with suppress(OSError):
                place.rmdir()
        lock.release()

print("ready", flush=True)
input()
threading.excepthook = lambda error: (traceback.print_exception(error.exc_value), os._exit(1))
for _ in range(threads):
    threading.Thread(target=hammer).start()
"""


def test_there_are_never_two_holders_though_its_file_and_folder_are_removed_and_made_again_all_the_time(tmp_path):
    (tmp_path / "count").write_text("0")
    with ExitStack() as stack:
        children = [stack.enter_context(python(HAMMER, tmp_path, 4, 40)) for _ in range(3)]
        for child in children:
            assert said(child) == "ready"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        assert [child.communicate()[1] for child in children] == [""] * 3
    assert (tmp_path / "count").read_text() == str(3 * 4 * 40)
