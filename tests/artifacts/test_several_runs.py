"""Several runs want one artifact: one works, the others wait and take what it made."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedsyn import interruption
from fedsyn.artifacts import Artifact
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.interruption import Interrupted
from tests.artifacts.damages import flip_a_bit
from tests.artifacts.samples import in_progress, quarantined, write_three_files
from tests.handmade import KEY, manifest, publish
from tests.processes import python, said


def test_of_many_writers_one_works_and_the_rest_find_its_artifact(store):
    begun, start = [], threading.Barrier(8)

    def make(number: int) -> str:
        start.wait()
        with store.work("stage", KEY) as place:
            found = store.heal("stage", KEY)
            if found is None:
                begun.append(number)
                write_three_files(place.draft)
                found = store.publish(place.draft, manifest(place.draft))
            return found.manifest.digest

    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(make, range(8)))
    assert len(begun) == len(digests) == 1
    assert [path.name for path in (store.root / "stage").iterdir()] == [KEY]
    assert in_progress(store) == []


HOLDER = """
import sys
from fedsyn.artifacts import Store
from tests.handmade import KEY, publish
def write(draft):
    print("working", flush=True)
    input()
    draft.write_json("numbers", {"answer": 42})
publish(Store(sys.argv[1]), write)
"""


@pytest.fixture
def told(caplog) -> Iterator[threading.Event]:
    """Set as soon as somebody says that he waits."""
    event, handler = threading.Event(), logging.Handler()
    handler.emit = lambda record: event.set() if "waiting" in record.getMessage() else None
    caplog.set_level("INFO", logger="fedsyn")
    logging.getLogger("fedsyn").addHandler(handler)
    yield event
    logging.getLogger("fedsyn").removeHandler(handler)


def test_who_waits_says_for_whom_and_takes_what_that_one_made(store, told, caplog):
    with python(HOLDER, store.root) as child, ThreadPoolExecutor(1) as pool:
        assert said(child) == "working"
        holder = Lock(store.place("stage", KEY) / "lock").holder()

        def wait() -> Artifact | None:
            with store.work("stage", KEY):
                return store.heal("stage", KEY)

        waiter = pool.submit(wait)
        assert told.wait(60)
        child.communicate("go\n")
        assert waiter.result(60).root == store.folder("stage", KEY)
    assert holder.pid == child.pid
    assert f"stage/{KEY}: held by process {child.pid} on {holder.host} (since {holder.since}); waiting" in caplog.text


def test_who_waits_can_be_asked_to_stop(store, monkeypatch):
    with store.work("stage", KEY):
        monkeypatch.setattr(interruption, "_asked", ["SIGTERM"])
        with pytest.raises(Interrupted, match="SIGTERM"), store.work("stage", KEY):
            pass


def test_a_slow_reader_of_a_damaged_artifact_does_not_quarantine_the_good_one_published_meanwhile(store, told):
    flip_a_bit(publish(store, write_three_files).root)
    with ThreadPoolExecutor(1) as pool, store.work("stage", KEY) as place:
        slow = pool.submit(store.find, "stage", KEY)
        assert told.wait(60)  # it has seen the damage, and wants to move what is damaged
        assert store.heal("stage", KEY) is None
        write_three_files(place.draft)
        store.publish(place.draft, manifest(place.draft))
    assert slow.result(60).read_json("numbers") == {"answer": 42}
    assert len(quarantined(store)) == 1


def test_what_a_run_holds_can_be_read_as_long_as_it_lives_and_is_gone_afterwards(store):
    with store.hold([("dataset", "a" * 24), ("partition", "b" * 24)]):
        (place,) = (store.root / "in_progress").glob("run-*")
        assert (place / "artifacts.txt").read_text() == f"dataset/{'a' * 24}\npartition/{'b' * 24}\n"
        assert is_held(place / "lock")
    assert list((store.root / "in_progress").glob("run-*")) == []


def test_a_run_that_begins_waits_for_who_cleans_the_store_and_not_for_other_runs(store, told):
    with ThreadPoolExecutor(1) as pool, store.hold([("dataset", "a" * 24)]):
        gate = store.gate()
        assert gate.acquire()

        def begin() -> int:
            with store.hold([("dataset", "a" * 24)]):
                return len(list((store.root / "in_progress").glob("run-*")))

        other = pool.submit(begin)
        assert told.wait(60)
        gate.release()
        assert other.result(60) == 2


def test_a_store_that_cannot_be_written_is_held_by_nobody_and_no_error(store):
    store.root.write_text("a file where the folder should be")
    with store.hold([("dataset", "a" * 24)]):
        pass
    with pytest.raises(OSError, match="of the run itself"), store.hold([("dataset", "a" * 24)]):
        raise OSError("of the run itself")
