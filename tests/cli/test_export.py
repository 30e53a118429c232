"""`fedsyn export`: which run it takes, and what it says where there is none."""

import shutil

import pytest

from fedsyn.artifacts import Store
from tests.cli.conftest import KEYS, invoke
from tests.synthesis.untrained import publish_inputs, publish_synthesis


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Store:
    """A store that has, under the digits preset's keys, all that an export needs."""
    store = Store(tmp_path_factory.mktemp("finished") / "store")
    publish_synthesis(store, publish_inputs(store, keys=KEYS), key=KEYS["synthesis"], guidance_scale=1)
    return store


def refusal(*arguments: object) -> str:
    result = invoke("export", *arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_run_is_named_as_it_was_run_or_by_a_key(finished, tmp_path):
    by_preset = invoke("export", "--preset", "digits", "--seed", 0, "--to", tmp_path / "one", "--store", finished.root)
    assert by_preset.exit_code == 0, by_preset.output
    assert f"synthesis/{KEYS['synthesis']}, seed 0" in by_preset.stdout
    assert "24 images" in by_preset.stdout
    by_key = invoke("export", KEYS["synthesis"][:8], "--to", tmp_path / "other", "--store", finished.root)
    assert by_key.exit_code == 0, by_key.output
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 10
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in files)


def test_what_comes_from_a_synthesis_names_it(run_store, tmp_path):
    """The report of a run names the run; its files are no models here, so that the export itself fails."""
    said = refusal(KEYS["partition"], "--to", tmp_path / "out", "--store", run_store.root)
    assert "must be that of a synthesis, or of a retrain or report, which come from one" in said
    assert f"got that of partition/{KEYS['partition']}" in said
    assert "No such file" in refusal(KEYS["report"], "--to", tmp_path / "out", "--store", run_store.root)
    shutil.rmtree(run_store.folder("synthesis", KEYS["synthesis"]))
    said = refusal(KEYS["report"], "--to", tmp_path / "out", "--store", run_store.root)
    assert (
        f"synthesis/{KEYS['synthesis']} is not in the store as report/{KEYS['report']} has read it; run again" in said
    )
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_names_the_stages_and_the_command(finished, tmp_path):
    said = refusal("--set", "synthesis.steps=7", "--seed", 3, "--to", tmp_path / "out", "--store", finished.root)
    assert (
        "the store has no partition, classifier, selection, autoencoder, latents, denoiser, synthesis of this run"
        in said
    )
    assert f"`fedsyn run --preset digits --set synthesis.steps=7 --seed 3 --store {finished.root}` makes what" in said
    assert not (tmp_path / "out").exists()


def test_two_names_for_a_run_are_refused(finished, tmp_path):
    said = refusal(KEYS["synthesis"], "--seed", 1, "--to", tmp_path / "out", "--store", finished.root)
    assert "a run is named by a key or by --preset, --set and --seed, got both" in said


def test_a_folder_with_something_in_it_is_refused_without_a_word_of_running_again(finished, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    said = refusal("--to", tmp_path, "--store", finished.root)
    assert "--to must name a folder that is empty or not there yet" in said
    assert "fedsyn run" not in said


def test_an_input_that_is_gone_names_the_command(finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "latents" / KEYS["latents"])
    said = refusal("--to", tmp_path / "out", "--store", tmp_path / "store")
    assert f"latents/{KEYS['latents']}" in said
    assert "`fedsyn run --preset digits --store" in said
