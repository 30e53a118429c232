"""`fedsyn plan` says what would run and why, from manifests alone."""

import json
import re
import shutil
import subprocess
import sys

from fedsyn.graph import STAGES
from tests.artifacts.damages import half_a_manifest
from tests.cli.conftest import KEYS, invoke

STAGE_NAMES = [stage.name for stage in STAGES]


def plan(store, *settings: str) -> dict[str, tuple[str, str]]:
    """State and reason of each stage."""
    result = invoke("plan", "--store", store.root, *(f"--set={setting}" for setting in settings))
    assert result.exit_code == 0, result.output
    rows = re.findall(
        r"^ (\w+) +[0-9a-f]{12} +(cached|would run) +(?:[\d.]+ s)? *(.*?) *$", result.stdout, re.MULTILINE
    )
    return {stage: (state, why) for stage, state, why in rows}


def would_run(steps: dict[str, tuple[str, str]]) -> list[str]:
    assert list(steps) == STAGE_NAMES
    return [stage for stage, (state, _) in steps.items() if state == "would run"]


def test_of_a_whole_run_everything_is_cached(run_store):
    assert would_run(plan(run_store)) == []
    assert "All 15 stages are in the store." in invoke("plan", "--store", run_store.root).stdout


def test_in_an_empty_store_everything_would_run(tmp_path):
    result = invoke("plan", "--store", tmp_path / "nowhere")
    assert result.stdout.count("would run") == 16  # fifteen stages and the sum
    assert "nothing like it" in result.stdout
    assert not (tmp_path / "nowhere").exists()


def test_a_changed_field_is_named_where_it_is_read_and_what_follows_says_after_what(run_store):
    steps = plan(run_store, "synthesis.guidance_scale=2.5")
    assert would_run(steps) == ["synthesis", "retrain", "quality", "report"]
    assert steps["synthesis"][1] == "synthesis.guidance_scale 1.0 -> 2.5"
    assert steps["retrain"][1] == "after synthesis"
    assert steps["report"][1] == "after synthesis, retrain, quality"


def test_a_field_of_an_input_is_named_too(run_store):
    """The nearest synthesis comes from another classifier; the one that is wanted is there, its partition too."""
    steps = plan(run_store, "partition.alpha_labeled=0.7", "classifier.rounds=3")
    assert steps["partition"][1] == "partition.alpha_labeled 0.1 -> 0.7"
    assert steps["classifier"][1] == "classifier.rounds 20 -> 3; after partition"
    assert steps["pseudo_labels"][1] == "after partition, classifier"


def test_an_artifact_that_is_gone_would_run_and_what_follows_holds_if_the_bytes_are_the_same(run_store):
    shutil.rmtree(run_store.folder("classifier", KEYS["classifier"]))
    steps = plan(run_store)
    assert would_run(steps) == ["classifier"]
    assert "holds if classifier has the same bytes again" in steps["pseudo_labels"][1]


def test_a_damaged_manifest_is_no_hit(run_store):
    half_a_manifest(run_store.folder("selection", KEYS["selection"]))
    steps = plan(run_store)
    assert would_run(steps) == ["selection"]
    assert steps["selection"][1] == "its manifest is damaged"


def test_an_artifact_of_other_bytes_of_its_input_would_run(run_store):
    path = run_store.folder("partition", KEYS["partition"]) / "manifest.json"
    manifest = run_store.manifest("partition", KEYS["partition"])
    files = tuple(file.model_copy(update={"sha256": "0" * 64}) for file in manifest.files)
    path.write_text(manifest.model_copy(update={"files": files}).sealed())
    steps = plan(run_store)
    assert steps["classifier"] == ("would run", "made from other bytes of partition")
    assert steps["autoencoder"] == ("would run", "made from other bytes of partition")


def test_a_stage_in_progress_says_so(run_store):
    shutil.rmtree(run_store.folder("denoiser", KEYS["denoiser"]))
    with run_store.work("denoiser", KEYS["denoiser"]) as work:
        work.checkpoints.save(0, 12, "safetensors", lambda path: path.write_bytes(b"state"))
        assert re.match(r"being made by process \d+ on \S+ \(since .* UTC\)", plan(run_store)["denoiser"][1])
    assert plan(run_store)["denoiser"][1].startswith("goes on after 12 rounds")


def test_bad_input_is_refused(run_store):
    assert invoke("plan", "--set", "classifier.rounds=0", "--store", run_store.root).exit_code == 2
    assert invoke("plan", "--preset", "nope", "--store", run_store.root).exit_code == 2


def test_reading_manifests_pays_neither_for_prefect_nor_for_pytorch(run_store):
    for call in (["plan"], ["artifacts", "ls"], ["artifacts", "lineage", KEYS["report"]], ["artifacts", "gc"]):
        code = f"""
import json, sys
from fedsyn.cli import app
app({[*call, "--store", str(run_store.root)]!r}, standalone_mode=False)
print(json.dumps(sorted({{"torch", "torchvision", "diffusers", "sklearn", "prefect", "pandas"}} & sys.modules.keys())))
"""
        outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stderr
        assert json.loads(outcome.stdout.splitlines()[-1]) == []
