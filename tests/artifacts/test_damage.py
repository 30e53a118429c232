"""Every way to damage an artifact is seen, none is used, and each is healed."""

import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn.artifacts import Store, StoreError
from tests.artifacts.damages import DAMAGES, edit_manifest
from tests.artifacts.samples import quarantined, write_three_files
from tests.handmade import KEY, publish

NAMES = [damage.__name__ for damage in DAMAGES]

pytestmark = pytest.mark.timeout(60)  # who reads a pipe or a device waits for ever


@pytest.fixture
def published(store):
    return publish(store, write_three_files, metrics={"accuracy": 0.5})


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items(), ids=NAMES)
def test_a_damaged_artifact_is_quarantined_and_can_be_made_again(store, published, damage, reason, caplog):
    damage(published.root)

    assert store.find("stage", KEY) is None
    assert not published.root.exists()
    assert len(quarantined(store)) == 1
    assert quarantined(store)[0].startswith(f"stage-{KEY}-")
    assert f"stage/{KEY}" in caplog.text
    assert quarantined(store)[0] in caplog.text
    assert reason in caplog.text

    publish(store, write_three_files)
    assert store.find("stage", KEY).read_json("numbers") == {"answer": 42}


@pytest.mark.parametrize("damage", DAMAGES, ids=NAMES)
def test_a_damaged_artifact_is_not_opened_by_its_manifest_either(store, published, damage):
    damage(published.root)
    with pytest.raises(StoreError, match=f"stage/{KEY} is gone or has changed"):
        store.open(published.manifest)


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items(), ids=NAMES)
def test_a_check_names_the_damage_and_moves_nothing(store, published, damage, reason):
    damage(published.root)
    assert reason in store.check("stage", KEY)
    assert len(list(store.manifests("stage"))) <= 2  # a listing neither waits nor fails
    assert quarantined(store) == []


def test_a_whole_artifact_passes_the_check(store, published):
    assert store.check("stage", KEY) is None


def test_a_manifest_that_was_sealed_again_without_a_change_is_whole(store, published):
    """So the damages that seal it again are seen for what they change, not for a wrong seal."""
    edit_manifest(published.root)
    assert store.find("stage", KEY).manifest == published.manifest


@settings(max_examples=40)
@given(st.data())
def test_a_flipped_bit_in_any_file_is_seen(data):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        root = publish(store, write_three_files, metrics={"accuracy": 0.5}).root
        names = ["manifest.json", "numbers.json", "notes.txt", "model/weights.safetensors"]
        path = root / data.draw(st.sampled_from(names))
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
