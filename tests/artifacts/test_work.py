"""A stage in progress: one writer, who goes on where an earlier one was stopped."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from fedsyn.artifacts import Store, StoreError, work
from fedsyn.artifacts.lock import is_held
from fedsyn.artifacts.manifest import Attempt
from fedsyn.artifacts.work import Work, clear_away
from tests.artifacts.samples import INPUT, attempt, in_progress, write_three_files
from tests.handmade import KEY, manifest
from tests.processes import python, said

INPUTS = {"partition": INPUT}


class Stopped(Exception):
    """Something goes wrong in a stage."""


def try_once(store: Store, keeps: int | None, this: Attempt | None = None, inputs=INPUTS) -> Work:
    """An attempt that keeps units [0, keeps) and then fails."""
    with suppress(Stopped), store.work("stage", KEY) as done:
        done.begin(this or attempt(), inputs)
        write_three_files(done.draft)
        if keeps is not None:
            time.sleep(0.01)  # the clock of files ticks every few milliseconds
            keep(done, keeps)
        raise Stopped
    return done


def keep(place: Work, units: int) -> None:
    place.checkpoints.save(0, units, "txt", lambda path: path.write_text(f"{units} units"))


def finish(store: Store) -> tuple[Attempt, ...]:
    """An attempt that publishes; returns what its manifest says of attempts."""
    with store.work("stage", KEY) as done:
        done.begin(attempt(), INPUTS)
        write_three_files(done.draft)
        return store.publish(done.draft, manifest(done.draft, attempts=done.attempts)).manifest.attempts


# --- what is left ---


def test_success_leaves_the_artifact_and_nothing_else(store):
    try_once(store, keeps=3)
    finish(store)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}
    assert in_progress(store) == []


def test_an_error_leaves_the_checkpoints_and_no_draft(store):
    place = try_once(store, keeps=3)
    assert not place.draft.root.exists()
    assert sorted(path.name for path in place.place.iterdir()) == ["checkpoints", "lock", "record.json"]
    with store.work("stage", KEY) as again:
        assert [found.stop for found in again.checkpoints.chain()] == [3]
        assert os.listdir(again.draft.root) == []
        assert is_held(place.place / "lock")
    assert not is_held(place.place / "lock")


def test_an_error_before_anything_was_kept_leaves_nothing(store):
    try_once(store, keeps=None)
    assert in_progress(store) == []
    assert store.find("stage", KEY) is None


def test_a_killed_writers_draft_is_not_gone_on_with(store):
    code = """
import sys
from fedsyn.artifacts import Store
from tests.artifacts.samples import INPUT, attempt
from tests.handmade import KEY
with Store(sys.argv[1]).work("stage", KEY) as work:
    work.begin(attempt(), {"partition": INPUT})
    work.draft.write_json("numbers", {"answer": 41})
    work.checkpoints.save(0, 3, "txt", lambda path: path.write_text("3 units"))
    print("kept", flush=True)
    input()
"""
    with python(code, store.root) as child:
        assert said(child) == "kept"
        child.kill()
    with store.work("stage", KEY) as again:
        again.begin(attempt(), INPUTS)
        assert os.listdir(again.draft.root) == []
        assert [found.stop for found in again.checkpoints.chain()] == [3]
        assert len(again.attempts) == 2


def test_what_a_writer_leaves_that_dies_between_publishing_and_clearing_away_is_swept_by_who_finds_the_artifact(store):
    place = try_once(store, keeps=3).place
    shutil.copytree(place, place.with_name("copy"))
    finish(store)
    place.with_name("copy").rename(place)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}
    assert in_progress(store) == []


def test_the_place_of_a_writer_that_has_published_and_is_alive_is_not_swept(store):
    with store.work("stage", KEY) as alive:
        write_three_files(alive.draft)
        store.publish(alive.draft, manifest(alive.draft))
        keep(alive, 1)
        assert store.find("stage", KEY) is not None
        assert len(alive.checkpoints.chain()) == 1


def test_while_the_next_writer_works_the_last_one_clears_nothing_away(store, monkeypatch):
    monkeypatch.setattr(work, "LONGEST_NAP", 0.0)

    def fail(_: int) -> None:
        for _ in range(40):
            with suppress(Stopped), store.work("stage", KEY) as place:
                files = [place.draft.root / str(number) for number in range(10)]
                for file in files:
                    file.touch()
                assert sorted(place.draft.root.iterdir()) == files
                raise Stopped

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail, range(4)))
    assert in_progress(store) == []


def test_clearing_away_takes_whatever_is_there_and_follows_no_link(tmp_path):
    place, outside = tmp_path / "place", tmp_path / "outside"
    (place / "draft" / "deep").mkdir(parents=True)
    (place / "lock").touch()
    (place / "record.json.partial").touch()
    outside.mkdir()
    (outside / "file").touch()
    (place / "link").symlink_to(outside)
    (place / "draft" / "link").symlink_to(outside)
    clear_away(place)
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["file"]
    clear_away(place)


# --- attempts ---


def test_every_attempt_that_kept_something_is_recorded(store):
    first, second = attempt(device="a"), attempt(device="b")
    try_once(store, keeps=1, this=first)
    try_once(store, keeps=2, this=second)
    attempts = finish(store)
    assert attempts[:2] == (first, second)
    assert len(attempts) == 3


def test_an_attempt_that_kept_nothing_is_not_counted(store):
    first = attempt(device="a")
    try_once(store, keeps=1, this=first)
    try_once(store, keeps=None, this=attempt(device="b"))
    try_once(store, keeps=None, this=attempt(device="c"))
    attempts = finish(store)
    assert [each.device for each in attempts] == ["a", "cpu"]


def test_seconds_of_work_add_up_over_the_attempts_that_are_in_the_result(store):
    long_ago = attempt().started - timedelta(hours=1)
    first = try_once(store, keeps=1, this=attempt().model_copy(update={"started": long_ago}))
    assert first.earlier_seconds == 0
    second = try_once(store, keeps=None)  # what it did is lost
    assert second.earlier_seconds == pytest.approx(3600, abs=300)
    earlier = attempt().started - timedelta(minutes=30)
    third = try_once(store, keeps=2, this=attempt().model_copy(update={"started": earlier}))
    assert third.earlier_seconds == second.earlier_seconds
    fourth = try_once(store, keeps=None)
    assert fourth.earlier_seconds == pytest.approx(3600 + 1800, abs=300)


@pytest.mark.parametrize("inputs", [{}, {"partition": INPUT.model_copy(update={"digest": "d" * 64})}, {"x": INPUT}])
def test_checkpoints_made_from_other_bytes_are_dropped(store, inputs):
    try_once(store, keeps=3)
    with store.work("stage", KEY) as other:
        this = attempt()
        other.begin(this, inputs)
        assert other.checkpoints.chain() == []
        assert (other.attempts, other.earlier_seconds) == ((this,), 0.0)


@pytest.mark.parametrize("record", [None, b"", b"{", b"\xff\xfe", b'{"inputs": {}, "attempts": [], "seconds": 1}'])
def test_checkpoints_without_a_record_of_what_they_were_made_from_are_dropped(store, record):
    path = try_once(store, keeps=3).place / "record.json"
    path.unlink() if record is None else path.write_bytes(record)
    with store.work("stage", KEY) as other:
        other.begin(attempt(), INPUTS)
        assert other.checkpoints.chain() == []
        assert len(other.attempts) == 1


def test_going_on_under_other_circumstances_is_told(store, caplog):
    try_once(store, keeps=1)
    finish(store)
    assert "other circumstances" not in caplog.text
    shutil.rmtree(store.root / "stage")
    try_once(store, keeps=1)
    try_once(store, keeps=None, this=attempt(threads=2, libraries={"numpy": "3.0"}))
    assert f"stage/{KEY}: goes on from a checkpoint that was made under other circumstances" in caplog.text
    assert "(threads 1 -> 2, numpy 2.0 -> 3.0)" in caplog.text


# --- errors ---


def test_a_store_that_is_full_says_so(store):
    with (
        pytest.raises(StoreError, match=r"no space left .* run again: what was done"),
        store.work("stage", KEY),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="other"), store.work("stage", KEY):
        raise OSError("other")
