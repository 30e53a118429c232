"""The local copies: below a limit, those used last, and all that is needed."""

import time

import pytest

from fedsyn.artifacts import Store, StoreError
from tests.artifacts.machines import machine
from tests.handmade import KEY, publish

SIZE = 100_000


def put_in(store, number):
    return publish(store, lambda folder: folder.path("bytes").write_bytes(bytes(SIZE)), key=f"{number:024x}")


def copies(store):
    return [int(key, 16) for _, key in Store(store.root).names()]


def test_the_cache_keeps_what_was_used_last(bucket, tmp_path):
    store = machine(bucket.url, tmp_path / "one", limit=3 * SIZE + SIZE // 2)
    for number in range(3):
        put_in(store, number)
        time.sleep(0.01)
    store.find("stage", f"{0:024x}")
    put_in(store, 3)
    assert copies(store) == [0, 2, 3]
    store.find("stage", f"{1:024x}")
    assert copies(store) == [0, 1, 3]
    assert len(list(store.names())) == 4
    assert list((store.root / "in_progress").iterdir()) == [store.root / "in_progress/gate"]


def test_the_limit_is_that_of_all_remote_stores_together_and_of_nothing_else(bucket, tmp_path):
    own = Store(tmp_path / "cache" / "a-store-of-its-own")
    put_in(own, 7)
    one = machine(bucket.url, tmp_path / "cache", limit=2 * SIZE + SIZE // 2)
    other = machine(f"{bucket.url}/other", tmp_path / "cache", limit=2 * SIZE + SIZE // 2)
    for number, store in enumerate((one, other, one)):
        put_in(store, number)
        time.sleep(0.01)
    assert (copies(one), copies(other), copies(own)) == ([2], [1], [7])


def test_what_a_running_run_holds_stays_in_the_cache(bucket, tmp_path):
    store = machine(bucket.url, tmp_path / "one", limit=SIZE // 2)
    with store.hold([("stage", f"{0:024x}")]):
        put_in(store, 0)
        put_in(store, 1)
        assert copies(store) == [0, 1]  # beyond the limit: one is held, one has just been made
        put_in(store, 2)
        assert copies(store) == [0, 2]
    put_in(store, 3)
    assert copies(store) == [3]


def test_what_is_not_in_the_remote_store_yet_stays_in_the_cache(bucket, tmp_path, monkeypatch):
    store = machine(bucket.url, tmp_path / "one", limit=SIZE // 2)

    def fail(path, name):
        raise StoreError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(store.objects, "put", fail)
        with pytest.raises(StoreError, match="no network"):
            put_in(store, 0)
    put_in(store, 1)
    assert copies(store) == [0, 1]
    with store.work("stage", f"{0:024x}"):
        assert store.heal("stage", f"{0:024x}") is not None
    put_in(store, 2)
    assert copies(store) == [2]
    assert len(list(store.names())) == 3


def test_what_a_killed_download_left_is_cleared_away(bucket, one):
    left = one.root / "in_progress" / f"fetch-stage-{KEY}"
    (left / "files").mkdir(parents=True)
    (left / "files" / "half").write_bytes(b"half")
    put_in(one, 0)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_says_so(bucket, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"cache .* cannot be written: .*; choose another folder, execution.cache"):
        machine(bucket.url, tmp_path / "cache")
