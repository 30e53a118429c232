"""Cleaning deletes what nobody needs, and never what a living run holds."""

import signal

import pytest

from fedsyn.artifacts import Input, Store, StoreError
from fedsyn.artifacts.cleaning import Extent, clean
from fedsyn.artifacts.lock import Lock
from tests.artifacts.damages import flip_a_bit
from tests.artifacts.samples import quarantined, write_three_files
from tests.handmade import ATTEMPT, publish
from tests.processes import python

UNREACHABLE = Extent(unreachable=True)
KEYS = {name: f"{number:024x}" for number, name in enumerate(["dataset", "partition", "other", "report"])}


@pytest.fixture
def graph(store) -> Store:
    """A report that comes from a partition of a data set, and an artifact that nothing comes from."""
    dataset = publish(store, write_three_files, "dataset", KEYS["dataset"]).manifest
    read = {"dataset": Input(key=dataset.key, digest=dataset.digest)}
    partition = publish(store, write_three_files, "partition", KEYS["partition"], read).manifest
    publish(store, write_three_files, "classifier", KEYS["other"], read)
    read = {"partition": Input(key=partition.key, digest=partition.digest)}
    publish(store, write_three_files, "report", KEYS["report"], read)
    return store


def names(store: Store) -> list[str]:
    return [stage for stage, _ in store.names()]


def cleaned(store: Store, extent: Extent, **options: bool) -> list[str]:
    return [found.path.relative_to(store.root).as_posix() for found in clean(store, extent, **options)]


def test_a_report_keeps_all_that_it_comes_from_and_the_rest_goes(graph):
    assert cleaned(graph, UNREACHABLE) == [f"classifier/{KEYS['other']}"]
    assert names(graph) == ["dataset", "partition", "report"]
    assert [path.name for path in (graph.root / "in_progress").iterdir()] == ["gate"]


def test_without_being_asked_no_artifact_is_deleted(graph):
    assert clean(graph, Extent()) == []
    assert len(names(graph)) == 4


def test_a_dry_run_tells_the_same_and_deletes_nothing(graph):
    assert cleaned(graph, UNREACHABLE, dry_run=True) == [f"classifier/{KEYS['other']}"]
    assert len(names(graph)) == 4


def test_what_a_run_holds_is_kept_and_goes_when_it_has_ended(graph):
    with graph.hold([("classifier", KEYS["other"]), ("report", "f" * 24)]):
        assert clean(graph, UNREACHABLE) == []
    assert cleaned(graph, UNREACHABLE) == [f"classifier/{KEYS['other']}"]


def test_what_a_killed_run_held_is_kept_no_longer(graph):
    code = f"""
import time
from fedsyn.artifacts import Store
with Store({str(graph.root)!r}).hold([("classifier", {KEYS["other"]!r})]):
    print("held", flush=True)
    time.sleep(60)
"""
    with python(code) as child:
        assert child.stdout.readline() == "held\n"
        assert clean(graph, UNREACHABLE) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
    run, artifact = sorted(cleaned(graph, UNREACHABLE), reverse=True)[0], f"classifier/{KEYS['other']}"
    assert run.startswith("in_progress/run-")
    assert artifact not in [f"{stage}/{key}" for stage, key in graph.names()]


def test_what_a_stage_in_progress_reads_is_kept(graph):
    manifest = graph.manifest("classifier", KEYS["other"])
    read = {"classifier": Input(key=manifest.key, digest=manifest.digest)}
    with graph.work("pseudo_labels", "a" * 24) as work:
        work.begin(ATTEMPT, read)
        assert clean(graph, Extent(unreachable=True, checkpoints=True)) == []
        assert work.place.is_dir()


def test_checkpoints_without_a_process_go_when_asked_for(graph):
    with graph.work("classifier", "a" * 24) as work:
        work.begin(ATTEMPT, {})
        work.checkpoints.save(0, 3, "txt", lambda path: path.write_text("three rounds"))
    assert clean(graph, Extent()) == []
    assert cleaned(graph, Extent(checkpoints=True)) == [f"in_progress/classifier-{'a' * 24}"]
    assert [path.name for path in (graph.root / "in_progress").iterdir()] == ["gate"]


def test_the_draft_of_a_killed_run_goes(graph):
    code = f"""
import time
from fedsyn.artifacts import Store
with Store({str(graph.root)!r}).work("classifier", {"a" * 24!r}) as work:
    work.draft.write_json("half", {{}})
    print("written", flush=True)
    time.sleep(60)
"""
    with python(code) as child:
        assert child.stdout.readline() == "written\n"
        assert clean(graph, Extent()) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert cleaned(graph, Extent()) == [f"in_progress/classifier-{'a' * 24}"]


def test_damaged_artifacts_go_when_asked_for(graph):
    flip_a_bit(graph.folder("classifier", KEYS["other"]))
    assert graph.find("classifier", KEYS["other"]) is None
    assert clean(graph, Extent()) == []
    assert len(clean(graph, Extent(quarantine=True))) == 1
    assert quarantined(graph) == []


def test_a_store_without_a_report_is_not_emptied(store):
    publish(store, write_three_files)
    with pytest.raises(StoreError, match="has no report, so nothing would be kept"):
        clean(store, UNREACHABLE)
    assert len(names(store)) == 1
    assert clean(Store(store.root / "nowhere"), Extent(), dry_run=True) == []


def test_a_run_that_has_just_taken_its_list_away_is_no_obstacle(graph):
    lock = Lock(graph.root / "in_progress" / "run-ends" / "lock")
    assert lock.acquire()
    assert cleaned(graph, UNREACHABLE) == [f"classifier/{KEYS['other']}"]
    assert lock.path.exists()
    lock.release()
