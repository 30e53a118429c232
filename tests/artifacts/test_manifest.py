"""The manifest on disk: what was sealed is read again, and nothing else is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn.artifacts import Folder, Input, Manifest
from fedsyn.artifacts.manifest import SEAL
from tests.artifacts.test_folder import JSON
from tests.handmade import ATTEMPT, manifest

TEXT = st.text() | st.just(SEAL) | st.just('"\n}\n')


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("sealed"))
    folder.write_json("numbers", {"answer": 42})
    return manifest(folder, metrics={"accuracy": 0.5})


@settings(max_examples=50)
@given(st.dictionaries(TEXT, JSON | TEXT, max_size=3), TEXT)
def test_whatever_its_fields_say_it_is_read_as_it_was_written(sealed, config, text):
    attempt = ATTEMPT.model_copy(update={"device": text, "libraries": {text: text}})
    written = sealed.model_copy(
        update={"config": config, "inputs": {text: Input(key=text, digest=text)}, "attempts": (ATTEMPT, attempt)}
    )
    assert Manifest.unsealed(written.sealed().encode()) == written


@settings(max_examples=200)
@given(st.data())
def test_a_byte_less_more_or_other_is_seen(sealed, data):
    content = bytearray(sealed.sealed().encode())
    place = data.draw(st.integers(0, len(content) - 1))
    before = bytes(content)
    match data.draw(st.sampled_from(["less", "more", "other"])):
        case "less":
            del content[place]
        case "more":
            content.insert(place, data.draw(st.integers(0, 255)))
        case "other":
            content[place] ^= data.draw(st.integers(1, 255))
    if bytes(content) != before:
        with pytest.raises(ValueError, match="its manifest is damaged or was edited"):
            Manifest.unsealed(bytes(content))


def test_a_manifest_without_any_attempt_is_none(sealed):
    with pytest.raises(ValueError, match="attempts"):
        Manifest.model_validate(sealed.model_dump() | {"attempts": ()})
