"""The lease: one holder at a time among machines that share nothing but a bucket."""

import logging
import threading
import time

import pytest

from fedsyn import interruption
from fedsyn.artifacts import StoreError
from fedsyn.artifacts.lease import Lease
from fedsyn.artifacts.objects import Objects
from tests.artifacts.machines import until

FOLDER = "in_progress/stage-0123/lease"


@pytest.fixture
def objects(bucket):
    return Objects(bucket.url)


def test_one_holds_at_a_time_and_the_next_when_it_is_let_go(objects, bucket):
    one, two = Lease(objects, FOLDER, 60.0), Lease(objects, FOLDER, 60.0)
    assert one.acquire()
    assert not two.acquire()
    assert str(two.holder()).startswith("process ")
    one.release()
    assert bucket.names() == []
    assert two.acquire()


def test_a_lease_that_is_renewed_does_not_lapse(objects, caplog):
    waiting = Lease(objects, FOLDER, 1.0)
    with Lease(objects, FOLDER, 1.0).held("stage/key") as holding:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert not waiting.acquire()
            time.sleep(0.05)
        holding.confirm()
    assert waiting.acquire()


def hold(say, url):
    with Lease(Objects(url), FOLDER, 0.6).held("stage/key"):
        say("held")
        time.sleep(60)


def test_the_lease_of_a_killed_process_lapses_after_its_duration_and_not_before(process, bucket, objects, caplog):
    caplog.set_level(logging.INFO)
    with process(hold, bucket.url) as child:
        child.said()
        child.kill()
    began = time.monotonic()
    with Lease(objects, FOLDER, 0.6).held("stage/key"):
        assert 0.6 <= time.monotonic() - began < 20
    assert f"stage/key: held by process {child.pid} on " in caplog.text
    assert bucket.names() == []


def test_of_many_who_wait_for_a_dead_one_one_takes_over(objects):
    assert Lease(objects, FOLDER, 0.6).acquire()
    waiting = [Lease(objects, FOLDER, 0.6) for _ in range(8)]
    taken = []

    def take(lease):
        end = time.monotonic() + 5
        while time.monotonic() < end and not taken:
            if lease.acquire():
                taken.append(lease)

    threads = [threading.Thread(target=take, args=(lease,)) for lease in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_many_at_once_hold_it_one_after_the_other(objects):
    inside, worst = [], []

    def use(number):
        with Lease(objects, FOLDER, 30.0).held(f"stage/{number}"):
            inside.append(number)
            worst.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1] * 6


def test_who_lost_the_lease_finds_out_and_lets_the_other_one_keep_it(objects, bucket, caplog):
    with Lease(objects, FOLDER, 0.3).held("stage/key") as slow:
        for name in bucket.names():
            bucket.delete(name)
        other = Lease(objects, FOLDER, 30.0)
        assert other.acquire()
        until(lambda: "stage/key: its lease was taken over by another run" in caplog.text)
        for look in (slow.check, slow.confirm):
            with pytest.raises(StoreError, match="stage-0123: another run took over"):
                look()
    other.confirm()
    assert not Lease(objects, FOLDER, 30.0).acquire()


def test_a_claim_on_a_number_that_was_passed_long_ago_is_none(objects, bucket):
    """One who saw claim 1, slept while it was renewed twice, and then takes it for dead."""
    late = Lease(objects, FOLDER, 0.1)
    holding = Lease(objects, FOLDER, 30.0)
    assert holding.acquire()
    assert not late.acquire()
    holding.confirm()
    holding.confirm()
    assert not late._follow(1)
    holding.confirm()
    assert [name[-8:] for name in bucket.names()] == ["004.json"]


def test_a_claim_after_one_that_was_let_go_meanwhile_is_none(objects, bucket):
    late, first, second = (Lease(objects, FOLDER, 30.0) for _ in range(3))
    assert first.acquire()
    first.confirm()
    first.release()
    assert second.acquire()
    assert not late._follow(2)
    second.confirm()


def test_without_network_for_a_while_the_lease_is_kept_where_nobody_wanted_it(objects, monkeypatch, caplog):
    def fail(*arguments):
        raise StoreError("no network")

    with Lease(objects, FOLDER, 0.3).held("stage/key") as holding:
        with monkeypatch.context() as patch:
            patch.setattr(objects, "create", fail)
            until(lambda: "stage/key: its lease could not be renewed: no network" in caplog.text)
            time.sleep(0.4)
            with pytest.raises(StoreError, match="no network"):
                holding.confirm()
        holding.confirm()


def test_an_answer_that_got_lost_is_no_refusal(objects, bucket, monkeypatch):
    """The server has made the object; the client has not heard of it and asks again."""
    pipe_file = objects._fs.pipe_file

    def twice(path, content, mode):
        pipe_file(path, content, mode=mode)
        pipe_file(path, content, mode=mode)

    monkeypatch.setattr(objects._fs, "pipe_file", twice)
    assert objects.create("object", b"mine")
    assert not objects.create("object", b"yours")
    assert bucket.get("object") == b"mine"


def test_a_server_without_conditions_is_refused(objects, bucket, monkeypatch):
    pipe_file = objects._fs.pipe_file
    monkeypatch.setattr(objects._fs, "pipe_file", lambda path, content, mode: pipe_file(path, content))
    with pytest.raises(StoreError, match="its server overwrites an object"):
        Lease(objects, FOLDER, 30.0).acquire()
    assert bucket.names() == []


def test_a_claim_that_nobody_can_read_counts_until_it_lapses(objects, bucket):
    bucket.put(f"{FOLDER}/000000004.json", b"\xff garbage")
    bucket.put(f"{FOLDER}/notes.txt", b"no claim")
    waiting = Lease(objects, FOLDER, 0.1)
    assert not waiting.acquire()
    assert waiting.holder() is None
    time.sleep(0.15)
    assert waiting.acquire()


def test_who_waits_can_be_interrupted(objects, monkeypatch):
    monkeypatch.setattr(interruption, "_asked", ["SIGTERM"])
    assert Lease(objects, FOLDER, 30.0).acquire()
    with pytest.raises(interruption.Interrupted), Lease(objects, FOLDER, 30.0).held("stage/key"):
        pass
