"""`fedsyn artifacts`: what it shows, checks, deletes and takes out."""

import re

import pytest

from fedsyn.graph import STAGES
from tests import handmade
from tests.artifacts.damages import delete_a_file, no_manifest
from tests.artifacts.samples import quarantined, write_three_files
from tests.cli.conftest import KEYS, invoke


def artifacts(store, *arguments: object, status: int = 0) -> str:
    result = invoke("artifacts", *arguments, "--store", store.root)
    assert result.exit_code == status, result.output
    return result.stdout + result.stderr


def test_ls_lists_every_artifact_with_its_main_measurements(run_store):
    listing = artifacts(run_store, "ls")
    assert re.findall(r"^(\w+) +([0-9a-f]{24}) ", listing, re.MULTILINE) == list(KEYS.items())
    assert listing.count("measured 0.25") == len(STAGES)
    assert f"{len(STAGES)} artifacts" in listing
    assert "1 artifacts" in artifacts(run_store, "ls", "--stage", "latents")
    assert "--stage must be one of dataset, partition" in artifacts(run_store, "ls", "--stage", "nope", status=2)


def test_show_takes_a_beginning_of_the_key(run_store):
    shown = artifacts(run_store, "show", KEYS["classifier"][:10])
    assert f"classifier/{KEYS['classifier']}" in shown
    for words in ("rounds: 20", f"partition: {KEYS['partition']}", "measured: 0.25", "numpy: '2.0'", "stage.json"):
        assert words in shown


@pytest.mark.parametrize("command", ["show", "lineage"])
def test_a_key_that_names_none_or_several_is_refused(run_store, command):
    assert "no artifact has a key that begins with 'xyz'" in artifacts(run_store, command, "xyz", status=2)
    handmade.publish(run_store, write_three_files, "classifier", KEYS["classifier"][:20] + "0000")
    refusal = artifacts(run_store, command, KEYS["classifier"][:20], status=2)
    assert "2 artifacts have a key that begins with" in refusal
    assert "give more of it" in refusal


def test_lineage_is_the_tree_of_inputs_and_marks_what_is_gone(run_store):
    tree = artifacts(run_store, "lineage", f"selection/{KEYS['selection']}")
    stages = "selection partition dataset pseudo_labels dataset partition classifier dataset partition"
    assert re.findall(r"(\w+) [0-9a-f]{24}", tree) == stages.split()
    no_manifest(run_store.folder("dataset", KEYS["dataset"]))
    assert "not in the store" in artifacts(run_store, "lineage", KEYS["selection"])


def test_diff_names_settings_measurements_and_files(run_store):
    classifier = run_store.manifest("classifier", KEYS["classifier"])
    config = {**classifier.config, "classifier": {**classifier.config["classifier"], "rounds": 7}}
    other = handmade.publish(
        run_store,
        lambda folder: folder.write_json("stage", "other"),
        "classifier",
        "a" * 24,
        classifier.inputs,
        config=config,
        version=classifier.version,
        metrics={"measured": 0.5},
    )
    lines = [line.split() for line in artifacts(run_store, "diff", classifier.key, "a" * 24).splitlines()[1:]]
    assert ["classifier.rounds", "20", "7"] in lines
    assert ["measured", "measured", "0.25", "0.5"] in lines
    assert ["file", "stage.json", classifier.files[0].sha256[:12], other.manifest.files[0].sha256[:12]] in lines
    assert len(lines) == 3
    assert "must be of one stage" in artifacts(run_store, "diff", classifier.key, KEYS["report"], status=2)


def test_verify_reads_every_byte_moves_nothing_unless_asked_and_says_how_many_are_damaged(run_store):
    assert f"{len(STAGES)} artifacts, 0 damaged" in artifacts(run_store, "verify")
    handmade.publish(run_store, write_three_files, "retrain", "a" * 24)
    delete_a_file(run_store.folder("retrain", "a" * 24))
    told = artifacts(run_store, "verify", status=1)
    assert f"retrain/{'a' * 24}: its files are not those of its manifest" in told
    assert f"{len(STAGES) + 1} artifacts, 1 damaged" in told
    assert quarantined(run_store) == []
    artifacts(run_store, "verify", "--quarantine", status=1)
    assert len(quarantined(run_store)) == 1
    assert f"{len(STAGES)} artifacts, 0 damaged" in artifacts(run_store, "verify")


def test_gc_says_what_goes_and_why(run_store):
    handmade.publish(run_store, write_three_files, "retrain", "a" * 24)
    assert "0 deleted" in artifacts(run_store, "gc")
    told = artifacts(run_store, "gc", "--keep-reachable", "--dry-run")
    assert f"retrain/{'a' * 24}: no report and no running run needs it" in told
    assert "1 would be deleted" in told
    assert "1 deleted" in artifacts(run_store, "gc", "--keep-reachable")
    assert len(list(run_store.names())) == len(STAGES)


def test_copy_copies_a_verified_artifact_into_a_new_folder(run_store, tmp_path):
    assert "1 files" in artifacts(run_store, "copy", KEYS["report"], tmp_path / "taken")
    assert {path.name for path in (tmp_path / "taken").iterdir()} == {"stage.json", "manifest.json"}
    assert "must not be there yet" in artifacts(run_store, "copy", KEYS["report"], tmp_path / "taken", status=2)


def test_copy_refuses_a_damaged_artifact(run_store, tmp_path):
    (run_store.folder("report", KEYS["report"]) / "stage.json").write_text('"other"')
    assert "is gone or has changed" in artifacts(run_store, "copy", KEYS["report"], tmp_path / "taken", status=2)
    assert not (tmp_path / "taken").exists()


def test_a_store_that_is_not_there_is_empty(tmp_path):
    result = invoke("artifacts", "ls", "--store", tmp_path / "nowhere")
    assert result.exit_code == 0
    assert "0 artifacts" in result.stdout


def test_a_store_that_cannot_be_used_is_refused_by_every_command():
    for arguments in (["plan"], ["run"], ["artifacts", "ls"], ["artifacts", "verify"], ["artifacts", "show", "abc"]):
        result = invoke(*arguments, "--store", "nowhere://bucket")
        assert result.exit_code == 2, result.output
        assert "nowhere://bucket" in result.stderr


def test_a_remote_store_is_not_cleaned(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # where its cache would be
    assert "clean it with its server's own tools" in invoke("artifacts", "gc", "--store", "memory://fedsyn").stderr
