"""Two cycles: the second labels with what the first has retrained, and leaves the first as it is."""

import json

import pandas as pd
import pytest

from fedsyn import pipeline
from fedsyn.artifacts import Store
from fedsyn.artifacts.cleaning import Extent, clean
from fedsyn.cli.run import accuracy_by_cycle
from fedsyn.config import Execution
from fedsyn.graph import nodes
from fedsyn.plan import plan
from fedsyn.presets import load_experiment
from fedsyn.report.text import percent
from tests.cli.conftest import invoke
from tests.e2e.tiny import OVERRIDES, contents

TWICE = OVERRIDES | {"retrain.cycles": 2}
EXPERIMENT = load_experiment("digits", TWICE)
SECOND = ["pseudo_labels-2", "selection-2", "denoiser-2", "synthesis-2", "retrain-2"]


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """A store in which nothing was before, and the results of the run by node."""
    store = tmp_path_factory.mktemp("twice") / "store"
    return Store(store), pipeline.run(EXPERIMENT, Execution(store=str(store), device="cpu", threads=1))


def table(twice, node: str, name: str) -> pd.DataFrame:
    store, results = twice
    return store.open(results[node].manifest).read_table(name)


def test_results_are_by_node_and_the_stages_of_a_cycle_have_two_artifacts(twice):
    store, results = twice
    assert list(results) == [node.name for node in nodes(EXPERIMENT)]
    assert {(result.manifest.stage, result.manifest.key) for result in results.values()} == set(store.names())
    assert [len(list(store.names(name.removesuffix("-2")))) for name in SECOND] == [2] * 5


def test_the_first_cycle_is_that_of_a_run_of_one_to_the_byte(twice, tiny):
    """Only what reads the last cycle is another artifact."""
    ours, theirs = contents(twice[0].root), contents(tiny)
    assert [name for name in ours if name in theirs and ours[name] != theirs[name]] == []
    assert {name.split("/")[0] for name in theirs if name not in ours} == {"self_training", "quality", "report"}


def test_the_second_cycle_labels_with_the_classifier_that_the_first_has_retrained(twice):
    first, second = (twice[1][name].manifest for name in ("retrain", "pseudo_labels-2"))
    assert second.inputs["retrain/classifier"].key == first.key
    before, after = (table(twice, name, "labels") for name in ("pseudo_labels", "pseudo_labels-2"))
    assert before["sample_id"].tolist() == after["sample_id"].tolist()
    assert before["confidence"].tolist() != after["confidence"].tolist()
    assert twice[1]["report"].manifest.metrics["retrained_accuracy"] == pytest.approx(
        twice[1]["retrain-2"].manifest.metrics["test_accuracy"]
    )


def test_no_cycle_believes_a_label_that_calibrates(twice):
    assignments = table(twice, "partition", "assignments")
    held_out = set(assignments.loc[assignments["role"] == "calibration", "sample_id"])
    for node in ("selection", "selection-2"):
        assert held_out.isdisjoint(table(twice, node, "labels")["sample_id"])
    assert set(table(twice, "pseudo_labels-2", "calibration")["sample_id"]) == held_out


def test_the_report_says_that_there_were_two(twice):
    page = (twice[0].open(twice[1]["report"].manifest).root / "report.html").read_text(encoding="utf-8")
    assert "From the labelling on, this is done 2 times" in page
    assert '<th scope="row">cycles</th><td class="value">2</td>' in page
    assert "The classifier of cycle 1 sees the intended class" in page


def test_the_command_shows_the_accuracy_after_each_cycle(twice):
    _, results = twice
    accuracies = [results[name].manifest.metrics["test_accuracy"] for name in ("retrain", "retrain-2")]
    assert list(accuracy_by_cycle(results).items()) == [
        (f"accuracy after cycle {cycle}", percent(accuracy, 2)) for cycle, accuracy in enumerate(accuracies, start=1)
    ]
    assert accuracy_by_cycle({name: result for name, result in results.items() if name != "retrain-2"}) == {}


def test_a_plan_knows_every_node(twice):
    store, _ = twice
    experiment = load_experiment("digits", TWICE | {"retrain.cycles": 3})
    fingerprint = twice[1]["dataset"].manifest.fingerprint
    steps = {step.node: step for step in plan(experiment, pipeline.keys(experiment), fingerprint, store)}
    third = [name.replace("2", "3") for name in SECOND]
    assert [name for name, step in steps.items() if not step.cached] == [*third, "self_training", "quality", "report"]
    assert steps["selection-3"].why == "after pseudo_labels-3"
    assert steps["pseudo_labels-3"].why.startswith("input classifier ")


def test_lineage_and_cleaning_follow_a_retrained_classifier(twice):
    store, results = twice
    tree = invoke("artifacts", "lineage", results["report"].manifest.key, "--store", store.root).stdout
    assert f"retrain/classifier {results['retrain'].manifest.key}" in tree
    assert "not in the store" not in tree
    assert clean(store, Extent(unreachable=True), dry_run=True) == []


def test_the_images_of_the_last_cycle_are_exported(twice, tmp_path):
    settings = [f"--set={field}={json.dumps(value)}" for field, value in TWICE.items()]
    result = invoke("export", "--to", tmp_path / "out", "--store", twice[0].root, *settings)
    assert result.exit_code == 0, result.output
    assert f"synthesis/{twice[1]['synthesis-2'].manifest.key}, seed 0" in result.stdout
    card = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "The classifier of the cycle before saw the intended class" in card
