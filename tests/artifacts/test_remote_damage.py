"""Every way to damage a remote artifact is seen, none is used, and each is healed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsyn.artifacts import Store
from tests.artifacts import damages
from tests.artifacts.machines import PLACE, files_of
from tests.artifacts.samples import INPUT, write_three_files
from tests.handmade import KEY, publish

LOCAL_ONLY = ("link", "pipe", "socket", "folder_in_place")  # nothing of the kind is in a bucket
REMOTE = {
    damage: message
    for damage, message in damages.DAMAGES.items()
    if message != damages.MISSING and not any(word in damage.__name__ for word in LOCAL_ONLY)
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The objects of an artifact."""
    store = Store(tmp_path_factory.mktemp("whole"))
    return files_of(publish(store, write_three_files, metrics={"accuracy": 0.5}))


@pytest.fixture
def published(bucket, whole):
    for name, content in whole.items():
        bucket.put(f"{PLACE}/{name}", content)


@pytest.mark.parametrize("damage", REMOTE, ids=lambda damage: damage.__name__)
def test_a_damaged_remote_artifact_is_quarantined_and_not_used(damage, published, two, bucket, tmp_path, caplog):
    bucket.edit(PLACE, tmp_path / "edited", damage)
    damaged = bucket.contents(PLACE)

    assert two.check("stage", KEY) is not None
    assert bucket.contents() == damaged
    assert two.find("stage", KEY) is None
    assert bucket.names(PLACE) == []
    assert not two.folder("stage", KEY).exists()
    aside = bucket.contents("quarantine")
    target = {"/".join(name.split("/")[:2]) for name in aside}
    assert len(target) == 1
    assert f"moved to {bucket.url}/{target.pop()}" in caplog.text
    assert sorted(aside.values()) == sorted(damaged.values())


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_in_any_object_is_seen(published, whole, two, bucket, data):
    name = data.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    bucket.put(f"{PLACE}/{name}", bytes(content))
    assert two.check("stage", KEY) is not None
    bucket.put(f"{PLACE}/{name}", whole[name])
    assert two.check("stage", KEY) is None


def test_a_quarantined_artifact_can_be_made_again(published, one, two, bucket):
    bucket.delete(f"{PLACE}/numbers.json")
    assert two.find("stage", KEY) is None
    made = publish(two, write_three_files)
    assert files_of(one.find("stage", KEY)) == files_of(made)


def test_a_manifest_that_is_too_large_is_not_read_to_its_end(two, bucket):
    bucket.put(f"{PLACE}/manifest.json", b" " * (2**24 + 2**20))
    assert len(two.objects.read(f"{PLACE}/manifest.json", 2**24)) == 2**24 + 1
    assert two.find("stage", KEY) is None


def test_nothing_is_downloaded_of_an_artifact_whose_sizes_are_wrong(published, two, bucket, monkeypatch):
    bucket.put(f"{PLACE}/notes.txt", b"")
    monkeypatch.setattr(two.objects, "get", lambda files: pytest.fail("it downloads"))
    assert two.check("stage", KEY) == damages.FILES


def test_an_artifact_of_other_inputs_is_quarantined(one, two, bucket):
    publish(one, write_three_files, inputs={"partition": INPUT})
    assert two.find("stage", KEY, {"partition": INPUT}) is not None
    stale = INPUT.model_copy(update={"digest": "d" * 64})
    assert two.find("stage", KEY, {"partition": stale}) is None
    assert bucket.names(PLACE) == []
    assert len(bucket.names("quarantine")) == 4


def test_a_damaged_remote_artifact_is_uploaded_again_where_a_whole_copy_is(one, two, bucket):
    published = publish(one, write_three_files)
    bucket.put(f"{PLACE}/manifest.json", b"garbage")
    found = one.find("stage", KEY)
    assert files_of(found) == files_of(published)
    assert two.find("stage", KEY).manifest == published.manifest
    assert len(bucket.names("quarantine")) == 4


def test_a_torn_upload_of_a_machine_that_is_gone_is_made_again(bucket, two):
    for name in ("notes.txt", "figures.json"):
        bucket.put(f"{PLACE}/{name}", b"of another time")
    assert two.find("stage", KEY) is None
    published = publish(two, write_three_files)
    assert bucket.names() == [f"{PLACE}/{name}" for name in sorted(files_of(published))]
    assert bucket.names("quarantine") == []
