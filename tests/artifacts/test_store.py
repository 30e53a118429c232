"""The store: published whole or not at all, trusted never."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedsyn.artifacts import Folder, Input, Store, StoreError
from fedsyn.artifacts.manifest import FileEntry
from tests.handmade import KEY, manifest, publish

INPUT = Input(key="b" * 24, digest="c" * 64)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def write_three_files(folder: Folder) -> None:
    folder.write_json("numbers", {"answer": 42})
    folder.write_tensors("model/weights", {"weight": torch.arange(6.0)})
    folder.path("notes.txt").write_text("a text long enough to lose a part of")


def quarantined(store: Store) -> list[str]:
    folder = store.root / "quarantine"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def drafts(store: Store) -> list[Path]:
    return list(store.root.glob("*/.draft-*"))


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


def test_a_draft_leaves_nothing_behind_when_its_stage_fails(store):
    with pytest.raises(ZeroDivisionError), store.draft("stage", KEY) as draft:
        write_three_files(draft) or 1 / 0
    assert store.find("stage", KEY) is None
    assert drafts(store) == []


def test_a_draft_is_not_an_artifact(store):
    with store.draft("stage", KEY) as draft:
        write_three_files(draft)
        assert store.find("stage", KEY) is None
        assert list(store.manifests("stage")) == []


def python(code: str) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)


def test_killed_in_the_middle_of_a_draft_nothing_is_published_and_the_next_run_works(store):
    code = f"""
import time
from fedsyn.artifacts import Store
from tests.handmade import KEY, manifest
with Store({str(store.root)!r}).draft("stage", KEY) as draft:
    draft.write_json("numbers", {{"answer": 41}})
    (draft.root / "manifest.json").write_text(manifest(draft).model_dump_json())
    print("written", flush=True)
    time.sleep(60)
"""
    child = python(code)
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()

    assert store.find("stage", KEY) is None
    assert list(store.manifests("stage")) == []
    publish(store, write_three_files)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}
    assert quarantined(store) == []


def test_killed_at_any_instant_every_artifact_in_the_store_is_whole(store):
    code = f"""
import itertools
from fedsyn.artifacts import Store
from tests.handmade import publish
store = Store({str(store.root)!r})
for number in itertools.count():
    content = bytes([number % 256]) * 300_000
    publish(store, lambda folder: folder.path("bytes").write_bytes(content), key=f"{{number:024x}}")
    print(number, flush=True)
"""
    child = python(code)
    for _ in range(20):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    keys = [path.name for path in (store.root / "stage").glob("[0-9a-f]*")]
    assert len(keys) >= 20
    assert [key for key in keys if store.find("stage", key) is None] == []


def flip_a_bit(root: Path) -> None:
    path = root / "model/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(root: Path) -> None:
    path = root / "notes.txt"
    path.write_bytes(path.read_bytes()[:-1])


def append(root: Path) -> None:
    with (root / "notes.txt").open("ab") as file:
        file.write(b"x")


def delete_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()


def delete_a_folder(root: Path) -> None:
    shutil.rmtree(root / "model")


def rename_a_file(root: Path) -> None:
    (root / "numbers.json").rename(root / "figures.json")


def add_a_file(root: Path) -> None:
    (root / "model" / "extra.bin").write_bytes(b"")


def swap_two_files(root: Path) -> None:
    one, other = root / "numbers.json", root / "notes.txt"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def link_to_the_same_bytes(root: Path) -> None:
    path, elsewhere = root / "numbers.json", root.parent.parent / "elsewhere.json"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def link_to_a_folder_of_the_same_files(root: Path) -> None:
    elsewhere = root.parent.parent / "elsewhere"
    shutil.move(root / "model", elsewhere)
    (root / "model").symlink_to(elsewhere)


def add_a_link_to_a_folder(root: Path) -> None:
    (root / "extra").symlink_to(root.parent.parent)


def folder_in_place_of_a_file(root: Path) -> None:
    (root / "numbers.json").unlink()
    (root / "numbers.json").mkdir()


def no_manifest(root: Path) -> None:
    (root / "manifest.json").unlink()


def empty_manifest(root: Path) -> None:
    (root / "manifest.json").write_bytes(b"")


def manifest_of_random_bytes(root: Path) -> None:
    (root / "manifest.json").write_bytes(bytes(range(256)))


def half_a_manifest(root: Path) -> None:
    path = root / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


def manifest_that_is_a_folder(root: Path) -> None:
    (root / "manifest.json").unlink()
    (root / "manifest.json").mkdir()


def edit_manifest(root: Path, **changes: object) -> None:
    path = root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def manifest_of_another_stage(root: Path) -> None:
    edit_manifest(root, stage="other")


def manifest_of_another_key(root: Path) -> None:
    edit_manifest(root, key="f" * 24)


def manifest_with_an_unknown_field(root: Path) -> None:
    edit_manifest(root, note="hello")


def manifest_without_a_file(root: Path) -> None:
    edit_manifest(root, files=json.loads((root / "manifest.json").read_text())["files"][:-1])


def name_a_file_outside(root: Path, name: str) -> None:
    outside = root.parent / "outside.json"
    (root / "numbers.json").rename(outside)
    files = json.loads((root / "manifest.json").read_text())["files"]
    for file in files:
        if file["name"] == "numbers.json":
            file["name"] = name
    edit_manifest(root, files=sorted(files, key=lambda file: file["name"]))


def path_escape(root: Path) -> None:
    name_a_file_outside(root, "../outside.json")


def path_escape_through_a_folder(root: Path) -> None:
    name_a_file_outside(root, "model/../../outside.json")


def absolute_path(root: Path) -> None:
    name_a_file_outside(root, str(root.parent / "outside.json"))


DAMAGES = [
    flip_a_bit,
    truncate,
    append,
    delete_a_file,
    delete_a_folder,
    rename_a_file,
    add_a_file,
    swap_two_files,
    link_to_the_same_bytes,
    link_to_a_folder_of_the_same_files,
    add_a_link_to_a_folder,
    folder_in_place_of_a_file,
    no_manifest,
    empty_manifest,
    manifest_of_random_bytes,
    half_a_manifest,
    manifest_that_is_a_folder,
    manifest_of_another_stage,
    manifest_of_another_key,
    manifest_with_an_unknown_field,
    manifest_without_a_file,
    path_escape,
    path_escape_through_a_folder,
    absolute_path,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_artifact_is_quarantined_and_can_be_made_again(store, damage, caplog):
    published = publish(store, write_three_files)
    damage(published.root)

    assert store.find("stage", KEY) is None
    assert not published.root.exists()
    assert len(quarantined(store)) == 1
    assert quarantined(store)[0].startswith(f"stage-{KEY}-")
    assert f"stage/{KEY}" in caplog.text
    assert quarantined(store)[0] in caplog.text

    publish(store, write_three_files)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_artifact_is_not_opened_by_its_manifest_either(store, damage):
    published = publish(store, write_three_files)
    damage(published.root)
    with pytest.raises(StoreError, match=f"stage/{KEY} is gone or has changed"):
        store.open(published.manifest)


@settings(max_examples=40)
@given(st.data())
def test_a_flipped_bit_in_any_file_is_seen(data):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        root = publish(store, write_three_files).root
        path = root / data.draw(st.sampled_from(["numbers.json", "notes.txt", "model/weights.safetensors"]))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        assert store.find("stage", KEY) is None


@pytest.mark.parametrize("in_the_way", ["file", "dangling link", "empty folder"])
def test_something_else_in_the_place_of_an_artifact_is_moved_away(store, in_the_way):
    place = store.folder("stage", KEY)
    place.parent.mkdir(parents=True)
    match in_the_way:
        case "file":
            place.write_text("not a folder")
        case "dangling link":
            place.symlink_to(place.parent / "nowhere")
        case "empty folder":
            place.mkdir()
    assert store.find("stage", KEY) is None
    publish(store, write_three_files)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}


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


def test_of_two_publishers_of_one_key_the_first_wins_and_both_get_its_artifact(store):
    with store.draft("stage", KEY) as slow, store.draft("stage", KEY) as fast:
        slow.write_json("numbers", {"from": "slow"})
        fast.write_json("numbers", {"from": "fast"})
        first = store.publish(fast, manifest(fast))
        second = store.publish(slow, manifest(slow))
    assert first.read_json("numbers") == second.read_json("numbers") == {"from": "fast"}
    assert [path.name for path in (store.root / "stage").iterdir()] == [KEY]
    assert quarantined(store) == []


def test_a_publisher_replaces_a_damaged_artifact_in_its_way(store):
    with store.draft("stage", KEY) as draft:
        write_three_files(draft)
        flip_a_bit(publish(store, write_three_files).root)
        store.publish(draft, manifest(draft))
    assert store.find("stage", KEY) is not None
    assert len(quarantined(store)) == 1


def test_many_publishers_at_once_leave_one_artifact(store):
    start, results = threading.Barrier(8), []

    def work() -> None:
        with store.draft("stage", KEY) as draft:
            write_three_files(draft)
            start.wait()
            results.append(store.publish(draft, manifest(draft)).manifest.digest)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert [path.name for path in (store.root / "stage").iterdir()] == [KEY]


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
    with pytest.raises(ValidationError, match="plain relative path"):
        FileEntry(name=name, size=1, sha256="0" * 64)


def test_the_digest_says_which_bytes_and_nothing_else(store, tmp_path):
    one = publish(store, write_three_files, metrics={"accuracy": 0.5}).manifest
    same = publish(Store(tmp_path / "other"), write_three_files, key="f" * 24, device="cuda").manifest
    other = publish(Store(tmp_path / "third"), lambda folder: folder.write_json("numbers", {"answer": 43})).manifest
    assert one.digest == same.digest != other.digest


def test_listings_skip_what_cannot_be_read(store):
    publish(store, write_three_files, key="a" * 24)
    empty_manifest(publish(store, write_three_files, key="b" * 24).root)
    no_manifest(publish(store, write_three_files, key="c" * 24).root)
    assert [found.key for found in store.manifests("stage")] == ["a" * 24]
    assert list(store.manifests("no such stage")) == []


@pytest.mark.parametrize("url", ["s3://bucket/artifacts", "memory://store", "https://example.org/store"])
def test_a_remote_store_is_refused(url):
    with pytest.raises(StoreError, match=f"local folder.*{url}"):
        Store(url)


def test_a_file_url_is_a_folder(tmp_path):
    assert Store(f"file://{tmp_path}/store").root == tmp_path / "store"


def test_a_store_in_the_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/store").root == tmp_path / "store"


def test_a_store_that_cannot_be_written_says_so_and_how_to_choose_another(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    store = Store(tmp_path / "store")
    assert store.find("stage", KEY) is None
    with (
        pytest.raises(StoreError, match=r"store .*/store cannot be written.*--store"),
        store.draft("stage", KEY),
    ):
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(JSON)
def test_json_comes_back_as_it_was(value):
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_json("value", value)
        assert folder.read_json("value") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_json_refuses_what_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        Folder(tmp_path).write_json("value", value)


DTYPES = {
    torch.uint8: np.uint8,
    torch.int64: np.int64,
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.bool: np.bool_,
}


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(list(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 200, shape).astype(DTYPES[dtype])
    tensor = torch.from_numpy(np.asarray(values))
    return tensor.transpose(0, -1) if tensor.ndim > 1 and draw(st.booleans()) else tensor


@settings(max_examples=50)
@given(st.dictionaries(st.text("abcdef./_", min_size=1, max_size=8), tensors(), max_size=4))
def test_tensors_come_back_as_they_were(named):
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_tensors("tensors", named)
        read = folder.read_tensors("tensors")
        assert read.keys() == named.keys()
        for name, tensor in named.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor)


SCHEMA = pa.schema([("sample_id", pa.int64()), ("label", pa.int16()), ("name", pa.string()), ("share", pa.float64())])
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.text(st.characters(codec="utf-8"), max_size=5),
        st.floats(allow_nan=False),
    )
)


@settings(max_examples=50)
@given(ROWS)
def test_tables_come_back_as_they_were(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    table = pd.DataFrame(
        {
            "name": pd.Series(columns[2], dtype="str"),
            "share": pd.Series(columns[3], dtype="float64"),
            "sample_id": pd.Series(columns[0], dtype="int64"),
            "label": pd.Series(columns[1], dtype="Int16"),
            "not in the schema": 0,
        }
    )
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_table("table", table, SCHEMA)
        read = folder.read_table("table")
        assert list(read.columns) == SCHEMA.names
        assert read["sample_id"].tolist() == list(columns[0])
        assert [None if pd.isna(label) else int(label) for label in read["label"]] == list(columns[1])
        assert read["name"].tolist() == list(columns[2])
        assert read["share"].tolist() == list(columns[3])


def test_a_value_that_does_not_fit_its_column_is_refused(tmp_path):
    table = pd.DataFrame({"sample_id": [1], "label": [40_000], "name": ["a"], "share": [0.5]})
    with pytest.raises((pa.ArrowInvalid, OverflowError)):
        Folder(tmp_path).write_table("table", table, SCHEMA)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    table = pd.DataFrame({"sample_id": [1, 2], "label": [3, 4], "name": ["a", "b"], "share": [0.5, float("nan")]})
    one, two = torch.arange(6).reshape(2, 3), torch.ones(2)
    for name, index in (("first", [0, 1]), ("second", [7, 9])):
        folder = Folder(tmp_path / name)
        folder.write_table("table", table.set_axis(index), SCHEMA)
        reverse = name == "second"
        tensors = {"one": one if not reverse else one.t().contiguous().t(), "two": two.clone()}
        folder.write_tensors("tensors", dict(sorted(tensors.items(), reverse=reverse)))
        folder.write_json("json", dict(sorted({"a": 1, "b": [2.5]}.items(), reverse=reverse)))
    for file in ("table.parquet", "tensors.safetensors", "json.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
