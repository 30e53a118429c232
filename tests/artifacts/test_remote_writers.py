"""One writer a key on all machines, who may be killed, or asleep, or lose its disk, at any instant."""

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from fedsyn.artifacts import Store, StoreError
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.remote import RemoteStore
from tests.artifacts.machines import IN_PROGRESS, PLACE, files_of, machine
from tests.artifacts.samples import attempt, write_three_files
from tests.handmade import KEY, manifest, publish


class Slow(Objects):
    """Says before which upload it is, and waits to be killed there."""

    def __init__(self, url, say, number):
        super().__init__(url)
        self.say, self.number = say, number

    def put(self, path, name, *, replace=False):
        self.pause(name)
        return super().put(path, name, replace=replace)

    def create(self, name, content):
        if name == f"{PLACE}/manifest.json":
            self.pause(name)
        return super().create(name, content)

    def delete(self, name):
        if name == f"{IN_PROGRESS}/record.json":
            self.pause(name)
        super().delete(name)

    def pause(self, name):
        if self.number == 0:
            self.say(name)
            time.sleep(60)
        self.number -= 1


def publish_slowly(say, url, cache, number):
    publish(RemoteStore(Slow(url, say, int(number)), Path(cache), 2**30, 1.0), write_three_files)


@pytest.mark.parametrize("uploaded", [1, 3, 4])
def test_killed_while_it_uploads(uploaded, process, bucket, tmp_path):
    """No manifest, no artifact. Another machine takes over; this one's next run uploads what it has."""
    with process(publish_slowly, bucket.url, tmp_path / "one", uploaded) as child:
        child.said()
        child.kill()
    assert len(bucket.names(PLACE)) == uploaded
    one, two = machine(bucket.url, tmp_path / "one"), machine(bucket.url, tmp_path / "two")
    if uploaded == 4:  # the manifest too: the artifact is there
        assert two.find("stage", KEY).read_json("numbers") == {"answer": 42}
        return
    assert two.find("stage", KEY) is None
    assert one.find("stage", KEY) is None
    with one.work("stage", KEY):
        uploaded_again = one.heal("stage", KEY, {})
    assert uploaded_again.read_json("numbers") == {"answer": 42}
    assert two.find("stage", KEY).manifest == uploaded_again.manifest
    assert bucket.names() == [f"{PLACE}/{name}" for name in sorted(files_of(uploaded_again))]


def compute_once(say, url, cache, computed):
    store = machine(url, cache, lease=5.0)
    found = store.find("stage", KEY)
    say("looked")
    if found is None:
        with store.work("stage", KEY) as work:
            found = store.heal("stage", KEY)
            if found is None:
                Path(computed, str(os.getpid())).touch()
                time.sleep(0.5)
                work.draft.write_json("numbers", {"made by": os.getpid()})
                found = store.publish(work.draft, manifest(work.draft))
    say(found.read_json("numbers"))


def test_four_processes_on_three_machines_compute_a_key_once(process, bucket, tmp_path):
    computed = tmp_path / "computed"
    computed.mkdir()
    caches = [tmp_path / name for name in ("one", "one", "two", "three")]
    with (
        process(compute_once, bucket.url, caches[0], computed) as a,
        process(compute_once, bucket.url, caches[1], computed) as b,
        process(compute_once, bucket.url, caches[2], computed) as c,
        process(compute_once, bucket.url, caches[3], computed) as d,
    ):
        assert [child.said() for child in (a, b, c, d)] == ["looked"] * 4
        results = [child.said() for child in (a, b, c, d)]
    (maker,) = computed.iterdir()
    assert results == [{"made by": int(maker.name)}] * 4
    assert bucket.names() == [f"{PLACE}/manifest.json", f"{PLACE}/numbers.json"]


def publish_after_a_sleep(say, url, cache):
    store = machine(url, cache)
    with store.work("stage", KEY) as work:
        work.begin(attempt(), {})
        say("working")
        while not Path(cache, "go on").exists():
            time.sleep(0.01)
        work.draft.write_json("numbers", {"from": "the sleeper"})
        try:
            store.publish(work.draft, manifest(work.draft))
        except StoreError as error:
            say(str(error))


def test_a_holder_that_slept_too_long_does_not_publish(process, bucket, two, tmp_path, caplog):
    with process(publish_after_a_sleep, bucket.url, tmp_path / "one") as child:
        child.said()
        os.kill(child.pid, signal.SIGSTOP)
        with caplog.at_level(logging.INFO):
            published = publish(two, write_three_files)
        assert f"{PLACE}: held by process {child.pid} on " in caplog.text
        (tmp_path / "one" / "go on").touch()
        os.kill(child.pid, signal.SIGCONT)
        assert "another run took over" in child.said()
    assert bucket.contents() == {f"{PLACE}/{name}": content for name, content in files_of(published).items()}
    found = machine(bucket.url, tmp_path / "one").find("stage", KEY)
    assert files_of(found) == files_of(published)


def test_a_writer_whose_lease_is_gone_does_not_publish(one, two, bucket):
    with one.work("stage", KEY) as slow:
        slow.draft.write_json("numbers", {"from": "slow"})
        for name in bucket.names(IN_PROGRESS):
            bucket.delete(name)
        publish(two, lambda folder: folder.write_json("numbers", {"from": "fast"}))
        with pytest.raises(StoreError, match=f"stage-{KEY}: another run took over"):
            one.publish(slow.draft, manifest(slow.draft))
    assert one.find("stage", KEY).read_json("numbers") == {"from": "fast"}
    assert bucket.names(IN_PROGRESS) == []


def test_where_leases_do_not_hold_the_first_of_two_publishers_wins_and_both_get_its_artifact(one, bucket, tmp_path):
    fast = publish(Store(tmp_path / "fast"), lambda folder: folder.write_json("numbers", {"from": "fast"}))
    with one.work("stage", KEY) as slow:
        slow.draft.write_json("numbers", {"from": "slow"})
        for name, content in files_of(fast).items():
            bucket.put(f"{PLACE}/{name}", content)
        assert one.publish(slow.draft, manifest(slow.draft)).read_json("numbers") == {"from": "fast"}
    assert files_of(one.find("stage", KEY)) == files_of(fast)
    assert bucket.names("quarantine") == []


def test_a_file_of_a_late_uploader_is_replaced_by_the_holder_of_the_lease(one, two, bucket, monkeypatch):
    sizes = one.objects.sizes
    monkeypatch.setattr(one.objects, "sizes", lambda folder: {} if folder == PLACE else sizes(folder))
    bucket.put(f"{PLACE}/notes.txt", b"comes after one has looked what is there")
    published = publish(one, write_three_files)
    assert files_of(two.find("stage", KEY)) == files_of(published)
