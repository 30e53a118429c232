"""A store below a URL: what one machine publishes, every machine finds, byte for byte."""

import subprocess
import sys
from pathlib import Path

from fedsyn.artifacts import Store, open_store
from tests.artifacts import damages
from tests.artifacts.machines import PLACE, files_of
from tests.artifacts.samples import write_three_files
from tests.handmade import KEY, manifest, publish


def test_what_one_machine_publishes_another_reads_byte_for_byte(one, two, bucket):
    assert two.find("stage", KEY) is None
    published = publish(one, write_three_files)
    found = two.find("stage", KEY)
    assert found.read_json("numbers") == {"answer": 42}
    assert found.root != published.root
    assert files_of(found) == files_of(published)
    assert bucket.contents() == {f"{PLACE}/{name}": content for name, content in files_of(published).items()}


def test_the_remote_store_is_laid_out_like_a_local_one(one, bucket, tmp_path):
    publish(one, write_three_files)
    bucket.edit("", tmp_path / "store", lambda root: None)
    assert Store(tmp_path / "store").find("stage", KEY).read_json("numbers") == {"answer": 42}


def test_a_second_look_downloads_nothing(one, two, bucket):
    publish(one, write_three_files)
    two.find("stage", KEY)
    for name in bucket.names(PLACE):
        if not name.endswith("manifest.json"):
            bucket.delete(name)
    assert two.find("stage", KEY).read_json("numbers") == {"answer": 42}


def test_listings_tell_what_is_in_the_remote_store(one, two, bucket):
    first = publish(one, write_three_files).manifest
    second = publish(one, write_three_files, "other", "a" * 24, metrics={"precision": float("nan")}).manifest
    bucket.put(f"stage/{'b' * 24}/manifest.json", b"{}")
    assert list(two.names()) == [("other", "a" * 24), ("stage", KEY), ("stage", "b" * 24)]
    assert [found.sealed() for found in two.manifests()] == [second.sealed(), first.sealed()]
    assert [found.key for found in two.manifests("stage")] == [KEY]
    assert two.manifest("stage", KEY) == first
    assert two.manifest("stage", "b" * 24) is None
    assert two.manifest("stage", "c" * 24) is None
    assert two.check("stage", KEY) is None
    assert list(Store(two.root).names()) == []


def test_a_damaged_copy_is_fetched_again(one, two, bucket, caplog):
    publish(one, write_three_files)
    root = two.find("stage", KEY).root
    damages.flip_a_bit(root)
    assert two.find("stage", KEY).read_tensors("model/weights")["weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert "its local copy is not used: model/weights.safetensors has other bytes" in caplog.text
    assert bucket.names("quarantine") == []


def test_what_was_deleted_from_the_remote_store_is_made_again(one, two, bucket):
    publish(one, lambda folder: folder.write_json("numbers", {"made by": "libraries of old"}))
    for name in bucket.names():
        bucket.delete(name)
    with one.work("stage", KEY) as work:
        assert one.heal("stage", KEY) is None
        work.draft.write_json("numbers", {"made by": "libraries of today"})
        one.publish(work.draft, manifest(work.draft))
    assert two.find("stage", KEY).read_json("numbers") == {"made by": "libraries of today"}


def test_a_store_in_the_memory_of_a_process_works_too(tmp_path):
    """Any file system of fsspec will do that creates on condition."""
    one, two = (open_store("memory://some/store", tmp_path / name) for name in ("one", "two"))
    published = publish(one, write_three_files)
    assert files_of(two.find("stage", KEY)) == files_of(published)
    assert [found.key for found in two.manifests()] == [KEY]


def test_a_folder_and_a_file_url_are_local_stores(tmp_path):
    for url in (tmp_path / "store", f"{tmp_path}/store", f"file://{tmp_path}/store"):
        store = open_store(url)
        assert type(store) is Store
        assert store.root == tmp_path / "store"


def test_a_local_store_imports_nothing_for_remote_ones(tmp_path):
    code = """
import sys
from fedsyn.artifacts import open_store
open_store(sys.argv[1]).find("stage", "0" * 24)
print([name for name in sys.modules if name.split(".")[0] in ("fsspec", "s3fs", "botocore", "aiohttp")])
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout == "[]\n"
