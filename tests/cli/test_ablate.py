"""`fedsyn ablate` lists studies, says what one would compute, refuses bad input before any work, and shows results."""

import json
import re
import subprocess
import sys

import pytest

from fedsyn.ablation import study_names
from fedsyn.graph import STAGES
from tests.cli.conftest import invoke

GUIDANCE = "digits-guidance"


def planned(store, *arguments: object) -> tuple[str, dict[str, list[int]]]:
    """The output of `--plan`, and of each stage the numbers: artifacts, cached, new, shared."""
    result = invoke("ablate", *arguments, "--plan", "--store", store.root)
    assert result.exit_code == 0, result.output
    rows = re.findall(r"^ (\w+) +(\d+) +(\d+) +(\d+) +(\d+) ", result.stdout, re.MULTILINE)
    return result.stdout, {stage: list(map(int, numbers)) for stage, *numbers in rows}


def test_without_a_study_they_are_listed_with_what_they_ask():
    listing = invoke("ablate").stdout
    assert all(name in listing for name in study_names())
    assert "Does classifier-free guidance help on the digits" in listing


def test_the_plan_counts_what_is_shared_and_what_the_store_has(run_store):
    before = sorted(run_store.root.rglob("*"))
    text, counts = planned(run_store, GUIDANCE)
    assert "3 arms, seeds 0, 1, 2: 9 runs" in text
    assert "synthesis.guidance_scale=4.0" in text
    assert list(counts) == [stage.name for stage in STAGES]
    assert counts["dataset"] == [1, 1, 0, 1]
    assert counts["denoiser"] == [3, 1, 2, 3]
    assert counts["report"] == [9, 1, 8, 0]
    assert "135 stages in all are 65 artifacts; 50 of them would be made, about 50 s." in text
    assert sorted(run_store.root.rglob("*")) == before


def test_seeds_and_fields_of_the_study_can_be_changed(run_store):
    text, counts = planned(
        run_store, GUIDANCE, "--seed", 5, "--set", "synthesis.steps=10", "--set", "execution.threads=1"
    )
    assert "3 arms, seeds 5: 3 runs" in text
    assert counts["report"] == [3, 0, 3, 0]


def test_a_study_can_be_a_file_of_the_users(run_store, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\narms: {small: {classifier.width: 8}, usual: }\n")
    text, counts = planned(run_store, tmp_path / "mine.yaml")
    assert "small  classifier.width=8" in text
    assert counts["autoencoder"] == [3, 1, 2, 3]
    assert counts["classifier"] == [6, 1, 5, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], ["study must be one of", GUIDANCE, "'nope'"]),
        ([GUIDANCE, "--set", "synthesis.stepz=1"], ["overrides: synthesis.stepz is not a field"]),
        ([GUIDANCE, "--set", "synthesis.guidance_scale=3"], ["no effect", "remove it"]),
        ([GUIDANCE, "--set", "seed=3"], ["list them in seeds"]),
        ([GUIDANCE, "--set", "denoiser.label_dropout=0"], ["guidance_scale=2.0: ", "guidance_scale=4.0: "]),
        ([GUIDANCE, "--set", "dataset.name=svhn", "--set", "dataset.root=/nowhere"], ["SVHN", "dataset.root"]),
        ([GUIDANCE, "--seed", "-1"], ["seeds.0", "-1"]),
        ([GUIDANCE, "--device", "tpu"], ["device", "'tpu'"]),
        ([GUIDANCE, "--store", "nowhere://bucket"], ["nowhere://bucket"]),
    ],
)
@pytest.mark.parametrize("plan", [["--plan"], []])
def test_bad_input_is_refused_before_any_work(arguments, words, plan, tmp_path):
    result = invoke("ablate", "--store", tmp_path / "store", *plan, *arguments)
    assert result.exit_code == 2, result.output
    assert [word for word in words if word not in result.stderr] == []
    assert not (tmp_path / "store").exists()


def test_planning_pays_neither_for_prefect_nor_for_pytorch(run_store):
    code = f"""
import json, sys
from fedsyn.cli import app
app(["ablate", {GUIDANCE!r}, "--plan", "--store", {str(run_store.root)!r}], standalone_mode=False)
print(json.dumps(sorted({{"torch", "torchvision", "sklearn", "prefect", "pandas", "matplotlib"}} & sys.modules.keys())))
"""
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout.splitlines()[-1]) == []
