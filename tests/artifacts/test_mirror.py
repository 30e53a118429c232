"""Checkpoints outlive the machine that kept them."""

import json
import time
from contextlib import suppress

import pytest

from fedsyn.artifacts import Pace, StoreError
from tests.artifacts.machines import IN_PROGRESS, machine, until
from tests.artifacts.samples import INPUT, attempt, write_three_files
from tests.handmade import KEY, manifest


def keep_rounds(say, url, cache, rounds):
    with machine(url, cache).work("stage", KEY, Pace(rounds=1)) as work:
        work.begin(attempt(), {"partition": INPUT})
        for stop in range(1, int(rounds) + 1):
            work.checkpoints.save(0, stop, "json", lambda path, stop=stop: path.write_text(json.dumps({"round": stop})))
        say(int(rounds))
        time.sleep(60)


def test_a_machine_goes_on_from_the_checkpoints_of_another_that_is_gone(process, bucket, two, tmp_path):
    with process(keep_rounds, bucket.url, tmp_path / "one", 3) as child:
        assert child.said() == 3
        kept = [name for name in bucket.names(IN_PROGRESS) if "lease" not in name]
        child.kill()
    assert len(kept) == 2  # the record, and the last checkpoint
    time.sleep(0.5)
    with two.work("stage", KEY) as work:
        work.begin(attempt(), {"partition": INPUT})
        (found,) = work.checkpoints.chain()
        assert (found.start, found.stop) == (0, 3)
        assert json.loads(found.path.read_text()) == {"round": 3}
        assert len(work.attempts) == 2
        assert 0 <= work.earlier_seconds < 2  # not the time in which nobody worked
        write_three_files(work.draft)
        two.publish(work.draft, manifest(work.draft))
    assert bucket.names("in_progress") == []
    assert not two.place("stage", KEY).exists()


def test_back_on_the_first_machine_what_the_second_kept_counts(bucket, one, two):
    def work_on(store, start, stop):
        with suppress(ZeroDivisionError), store.work("stage", KEY) as work:
            work.begin(attempt(), {"partition": INPUT})
            assert [found.stop for found in work.checkpoints.chain()] == ([start] if start else [])
            work.checkpoints.save(0, stop, "json", lambda path: path.write_text(str(stop)))
            raise ZeroDivisionError

    work_on(one, 0, 2)
    work_on(two, 2, 5)
    work_on(one, 5, 7)
    work_on(two, 7, 8)
    assert len(bucket.names(f"{IN_PROGRESS}/checkpoints")) == 1
    with one.work("stage", KEY) as work:
        work.begin(attempt(), {"partition": INPUT.model_copy(update={"digest": "e" * 64})})
        assert work.checkpoints.chain() == []
        assert bucket.names(f"{IN_PROGRESS}/checkpoints") == []
        assert len(work.attempts) == 1
    assert bucket.names() == []


def test_a_damaged_remote_checkpoint_is_not_gone_on_from(bucket, one, two, caplog):
    with suppress(ZeroDivisionError), one.work("stage", KEY) as work:
        work.begin(attempt(), {})
        work.checkpoints.save(0, 3, "json", lambda path: path.write_text("three rounds"))
        raise ZeroDivisionError
    (name,) = bucket.names(f"{IN_PROGRESS}/checkpoints")
    bucket.put(name, b"three bounds")
    bucket.put(f"{IN_PROGRESS}/checkpoints/../../../escape", b"x")
    with two.work("stage", KEY) as work:
        assert work.checkpoints.chain() == []
    assert "is damaged; going on without it" in caplog.text


def test_who_lost_the_work_learns_it_at_the_next_checkpoint(bucket, one):
    with one.work("stage", KEY) as work:
        work.begin(attempt(), {})
        for name in bucket.names(f"{IN_PROGRESS}/lease"):
            bucket.delete(name)
        until(lambda: one._leases["stage", KEY]._lost)
        with pytest.raises(StoreError, match=f"stage-{KEY}: another run took over"):
            work.checkpoints.save(0, 1, "json", lambda path: path.write_text("1"))
    assert bucket.names(f"{IN_PROGRESS}/checkpoints") == []


def test_checkpoints_are_kept_here_where_the_remote_store_does_not_answer(bucket, one, monkeypatch, caplog):
    with one.work("stage", KEY) as work:
        work.begin(attempt(), {})
        put = one.objects.put

        def fail(path, name, replace):
            raise StoreError("no network")

        monkeypatch.setattr(one.objects, "put", fail)
        work.checkpoints.save(0, 1, "json", lambda path: path.write_text("1"))
        assert "the last checkpoint is kept on this machine only: no network" in caplog.text
        assert work.checkpoints.units() == 1
        assert bucket.names(f"{IN_PROGRESS}/checkpoints") == []
        monkeypatch.setattr(one.objects, "put", put)
        work.checkpoints.save(1, 2, "json", lambda path: path.write_text("2"))
        assert len(bucket.names(f"{IN_PROGRESS}/checkpoints")) == 2
