"""The store: published whole or not at all, trusted never."""

import shutil
import threading

import numpy as np
import pytest
from pydantic import ValidationError

from fedsyn.artifacts import Store, StoreError
from fedsyn.artifacts.manifest import FileEntry
from tests.artifacts.damages import empty_manifest, flip_a_bit, no_manifest
from tests.artifacts.samples import INPUT, in_progress, quarantined, write_three_files
from tests.handmade import KEY, manifest, publish
from tests.processes import python, said


def test_what_was_published_is_found_and_read(store):
    publish(store, write_three_files)
    found = store.find("stage", KEY)
    assert found.root == store.root / "stage" / KEY
    assert found.read_json("numbers") == {"answer": 42}
    assert found.read_tensors("model/weights")["weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert [file.name for file in found.manifest.files] == [
        "model/weights.safetensors",
        "notes.txt",
        "numbers.json",
    ]


def test_what_was_never_published_is_not_found(store):
    assert store.find("stage", KEY) is None
    publish(store, write_three_files)
    assert store.find("stage", "f" * 24) is None
    assert store.find("other", KEY) is None


def test_a_draft_is_not_an_artifact(store):
    with store.work("stage", KEY) as work:
        write_three_files(work.draft)
        (work.draft.root / "manifest.json").write_text(manifest(work.draft).sealed())
        assert store.find("stage", KEY) is None
        assert list(store.manifests()) == []
        assert list(store.names()) == []


def test_killed_in_the_middle_of_a_draft_nothing_is_published_and_the_next_run_works(store):
    code = """
import sys
from fedsyn.artifacts import Store
from tests.handmade import KEY, manifest
with Store(sys.argv[1]).work("stage", KEY) as work:
    work.draft.write_json("numbers", {"answer": 41})
    (work.draft.root / "manifest.json").write_text(manifest(work.draft).sealed())
    print("written", flush=True)
    input()
"""
    with python(code, store.root) as child:
        assert said(child) == "written"
        child.kill()

    assert store.find("stage", KEY) is None
    assert list(store.manifests("stage")) == []
    publish(store, write_three_files)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}
    assert quarantined(store) == []
    assert in_progress(store) == []


def test_killed_at_any_instant_every_artifact_in_the_store_is_whole(store):
    code = """
import itertools, sys
from fedsyn.artifacts import Store
from tests.handmade import publish
store = Store(sys.argv[1])
for number in itertools.count():
    content = bytes([number % 256]) * 300_000
    publish(store, lambda folder: folder.path("bytes").write_bytes(content), key=f"{number:024x}")
    print(number, flush=True)
"""
    with python(code, store.root) as child:
        for number in range(20):
            assert said(child) == str(number)
        child.kill()

    keys = [key for _, key in store.names("stage")]
    assert len(keys) >= 20
    assert [key for key in keys if store.find("stage", key) is None] == []


def test_an_artifact_made_from_other_bytes_of_its_inputs_is_not_used(store):
    published = publish(store, write_three_files, inputs={"partition": INPUT})
    assert store.find("stage", KEY, {"partition": INPUT}).manifest == published.manifest
    stale = INPUT.model_copy(update={"digest": "d" * 64})
    assert store.find("stage", KEY, {"partition": stale}) is None
    assert len(quarantined(store)) == 1


@pytest.mark.parametrize("inputs", [{}, {"partition": INPUT, "classifier": INPUT}, {"classifier": INPUT}])
def test_an_artifact_made_from_other_inputs_is_not_used(store, inputs):
    publish(store, write_three_files, inputs={"partition": INPUT})
    assert store.find("stage", KEY, inputs) is None


def test_an_artifact_that_was_replaced_by_other_bytes_is_not_opened_for_the_old_ones(store):
    published = publish(store, write_three_files)
    shutil.rmtree(published.root)
    publish(store, lambda folder: folder.write_json("numbers", {"answer": 43}))
    with pytest.raises(StoreError, match="run again"):
        store.open(published.manifest)


def test_where_locks_do_not_hold_the_first_of_two_publishers_wins_and_both_get_its_artifact(store, tmp_path):
    with store.work("stage", KEY) as work:
        fast = publish(Store(tmp_path / "other"), lambda folder: folder.write_json("numbers", {"from": "fast"}))
        shutil.copytree(fast.root, store.folder("stage", KEY))
        work.draft.write_json("numbers", {"from": "slow"})
        assert store.publish(work.draft, manifest(work.draft)).read_json("numbers") == {"from": "fast"}
    assert store.find("stage", KEY).read_json("numbers") == {"from": "fast"}
    assert quarantined(store) == []
    assert in_progress(store) == []


def test_a_publisher_replaces_a_damaged_artifact_in_its_way(store):
    with store.work("stage", KEY) as work:
        write_three_files(work.draft)
        store.folder("stage", KEY).mkdir(parents=True)
        store.publish(work.draft, manifest(work.draft))
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}
    assert len(quarantined(store)) == 1


def test_many_readers_of_a_damaged_artifact_all_say_that_it_is_not_there(store):
    for number in range(20):
        flip_a_bit(publish(store, write_three_files, key=f"{number:024x}").root)
        start, results = threading.Barrier(4), []

        def work(key=f"{number:024x}", start=start, results=results) -> None:
            start.wait()
            results.append(store.find("stage", key))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [None] * 4
    assert len(quarantined(store)) == 20


def test_metrics_that_are_not_numbers_survive_the_manifest(store):
    metrics = {"precision": float("nan"), "bound": float("inf"), "accuracy": 0.1 + 0.2}
    publish(store, write_three_files, metrics=metrics)
    read = store.find("stage", KEY).manifest.metrics
    assert np.isnan(read["precision"])
    assert read["bound"] == float("inf")
    assert read["accuracy"] == 0.1 + 0.2


@pytest.mark.parametrize("name", ["../x", "a/../x", "/x", "a//x", "./x", "", "a\\x", "a/"])
def test_a_manifest_names_files_inside_its_folder_only(name):
    with pytest.raises(ValidationError, match="should match pattern"):
        FileEntry(name=name, size=1, sha256="0" * 64)


def test_the_digest_says_which_bytes_and_nothing_else(store, tmp_path):
    one = publish(store, write_three_files, metrics={"accuracy": 0.5}).manifest
    same = publish(Store(tmp_path / "other"), write_three_files, key="f" * 24, seconds=9.0).manifest
    other = publish(Store(tmp_path / "third"), lambda folder: folder.write_json("numbers", {"answer": 43})).manifest
    assert one.digest == same.digest != other.digest


def test_listings_skip_what_cannot_be_read(store):
    publish(store, write_three_files, key="a" * 24)
    empty_manifest(publish(store, write_three_files, key="b" * 24).root)
    no_manifest(publish(store, write_three_files, key="c" * 24).root)
    assert [found.key for found in store.manifests("stage")] == ["a" * 24]
    assert list(store.manifests("no such stage")) == []


def test_a_store_in_the_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/store").root == tmp_path / "store"


def test_a_store_that_cannot_be_written_says_so_and_how_to_choose_another(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    store = Store(tmp_path / "store")
    assert store.find("stage", KEY) is None
    with (
        pytest.raises(StoreError, match=r"store .*/store cannot be written.*--store"),
        store.work("stage", KEY),
    ):
        pass


def test_every_file_may_be_read_by_those_who_may_read_the_manifest(store):
    """safetensors makes its files for their owner alone; stores are shared between people."""
    root = publish(store, write_three_files).root
    assert len({path.stat().st_mode for path in root.rglob("*") if path.is_file()}) == 1
