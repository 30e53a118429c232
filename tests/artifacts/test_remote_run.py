"""The whole method with a store below a URL: the same bytes as with a folder, found again by every machine."""

import pytest

from fedsyn import pipeline
from fedsyn.config import Execution
from tests.e2e.tiny import EXPERIMENT, contents


def run(store, cache):
    execution = Execution(store=str(store), cache=str(cache), device="cpu", threads=1)
    return pipeline.run(EXPERIMENT, execution)


@pytest.mark.e2e
def test_a_remote_run_has_the_bytes_of_a_local_one_and_is_found_by_another_machine(bucket, tiny, tmp_path):
    assert all(result.cached for result in run(tiny, tmp_path / "unused").values())
    assert not (tmp_path / "unused").exists()
    made = run(bucket.url, tmp_path / "one")
    assert not any(result.cached for result in made.values())

    bucket.edit("", tmp_path / "copy", lambda root: None)
    assert contents(tmp_path / "copy") == contents(tiny)
    assert not (tmp_path / "copy" / "in_progress").exists()

    objects = bucket.names()
    found = run(bucket.url, tmp_path / "two")
    assert all(result.cached for result in found.values())
    assert [result.manifest for result in found.values()] == [result.manifest for result in made.values()]
    assert bucket.names() == objects
