"""A study's result: numbers by hand, and one artifact that the store treats like any other."""

import json
import shutil
from math import isnan

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fedsyn.ablation import Study
from fedsyn.ablation.gathering import gather
from fedsyn.ablation.schemas import ARMS, FAILURES, RUNS, SUMMARY
from fedsyn.artifacts import Artifact, Store
from fedsyn.artifacts.cleaning import Extent, clean
from tests import handmade
from tests.ablation.samples import STUDY, reports
from tests.artifacts.samples import in_progress, write_three_files
from tests.cli.conftest import invoke

T = 4.302653  # Student's t at 0.975 with two degrees of freedom
FAILED = {("steps=6", 2): "no space left"}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def gathered(store: Store, study: Study = STUDY, failures: dict | None = None) -> Artifact:
    done = {name: report for name, report in reports(store).items() if name not in (failures or {})}
    return gather(store, study, study.runs(), done, failures or {})


def row(artifact: Artifact, arm: str, metric: str) -> pd.Series:
    summary = artifact.read_table("summary")
    return summary[(summary["arm"] == arm) & (summary["metric"] == metric)].squeeze()


def test_a_run_is_a_row_for_each_measurement(store):
    measured = gathered(store).read_table("runs")
    assert len(measured) == 6 * 4
    first = measured[(measured["metric"] == "retrained_accuracy")].iloc[0]
    assert (first["arm"], first["seed"], first["value"], first["report"]) == ("steps=5", 0, 0.80, "0" * 24)
    assert measured[measured["metric"] == "coverage"]["value"].isna().all()


def test_an_arm_is_the_fields_that_make_it(store):
    arms = gathered(store).read_table("arms")
    assert arms["arm"].tolist() == ["steps=5", "steps=6"]
    assert arms["field"].tolist() == ["synthesis.steps"] * 2
    assert [json.loads(value) for value in arms["value"]] == [5, 6]


def test_mean_and_interval_over_three_seeds(store):
    """0.80, 0.82, 0.84: standard deviation 0.02, half width t * 0.02 / sqrt(3)."""
    found = row(gathered(store), "steps=5", "retrained_accuracy")
    assert (found["n"], found["pairs"]) == (3, 0)
    assert found[["mean", "lower", "upper"]].tolist() == pytest.approx(
        [0.82, 0.82 - T * 0.02 / 3**0.5, 0.82 + T * 0.02 / 3**0.5]
    )
    assert found[["difference", "difference_lower", "difference_upper"]].isna().all()


def test_differences_to_the_first_arm_are_paired_by_seed(store):
    """0.01, 0.02 and 0.03 apart: standard deviation 0.01, though the arms' own are 0.02 and 0.03."""
    found = row(gathered(store), "steps=6", "retrained_accuracy")
    assert found[["difference", "difference_lower", "difference_upper"]].tolist() == pytest.approx(
        [0.02, 0.02 - T * 0.01 / 3**0.5, 0.02 + T * 0.01 / 3**0.5]
    )


def test_a_failed_run_is_named_and_the_others_are_compared(store):
    """Two seeds are left: 0.01 and 0.02 apart, t = 12.7062 with one degree of freedom, standard error 0.005."""
    artifact = gathered(store, failures=FAILED)
    found = row(artifact, "steps=6", "retrained_accuracy")
    assert (found["n"], found["pairs"]) == (2, 2)
    assert found["difference_upper"] == pytest.approx(0.015 + 12.7062 * 0.005, abs=1e-6)
    assert artifact.read_table("failures").values.tolist() == [["steps=6", 2, "no space left"]]
    assert artifact.manifest.metrics == {"runs": 5, "failed": 1}
    page = (artifact.root / "table.md").read_text()
    assert "Failed:\n\n- steps=6, seed 2: no space left\n" in page


def test_one_seed_has_a_mean_and_a_difference_and_no_interval(store):
    study = STUDY.model_copy(update={"seeds": [1]})
    found = row(gathered(store, study), "steps=6", "retrained_accuracy")
    assert (found["n"], found["mean"], found["pairs"]) == (1, 0.84, 1)
    assert found["difference"] == pytest.approx(0.02)
    assert found[["lower", "upper", "difference_lower", "difference_upper"]].isna().all()


def test_what_nobody_could_measure_has_no_mean(store):
    found = row(gathered(store), "steps=5", "coverage")
    assert (found["n"], found["pairs"]) == (0, 0)
    assert isnan(found["mean"])


def test_the_table_says_it_in_per_cent_and_points(store):
    lines = (gathered(store).root / "table.md").read_text().splitlines()
    assert lines[2].endswith("| retrained against steps=5, points |")
    assert lines[4] == "| steps=5 | 3 | 72.00 ± 4.97 | 82.00 ± 4.97 | 10.00 ± 0.00 | – |"
    assert lines[5] == "| steps=6 | 3 | 72.00 ± 4.97 | 84.00 ± 7.45 | 12.00 ± 2.48 | +2.00 ± 2.48 |"


def test_a_bar_in_an_arms_name_does_not_end_its_cell(store):
    study = Study(name="bars", arms={"a|b": {}}, seeds=[0])
    report = reports(store)["steps=5", 0]
    page = (gather(store, study, study.runs(), {("a|b", 0): report}, {}).root / "table.md").read_text()
    assert "| a\\|b | 1 | 70.00 | 80.00 | 10.00 | – |" in page


def test_tables_have_their_schemas_and_the_picture_is_one(store):
    artifact = gathered(store, failures=FAILED)
    for name, schema in (("runs", RUNS), ("arms", ARMS), ("summary", SUMMARY), ("failures", FAILURES)):
        assert pq.read_schema(artifact.root / f"{name}.parquet").equals(schema)
    assert (artifact.root / "figures/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_results_are_found_and_not_made_again(store):
    first, again = gathered(store), gathered(store)
    assert again.manifest == first.manifest
    assert len(list(store.names("ablation"))) == 1
    assert in_progress(store) == []


def test_the_same_results_have_the_same_bytes_in_any_store(store, tmp_path):
    one, other = gathered(store, failures=FAILED), gathered(Store(tmp_path / "other"), failures=FAILED)
    assert (one.manifest.key, one.manifest.files) == (other.manifest.key, other.manifest.files)


def test_other_results_are_another_artifact(store):
    keys = {
        gathered(store).manifest.key,
        gathered(store, failures=FAILED).manifest.key,
        gathered(store, failures={("steps=6", 2): "another reason"}).manifest.key,
        gathered(store, STUDY.model_copy(update={"name": "renamed"})).manifest.key,
        gathered(store, STUDY.model_copy(update={"seeds": [2, 1, 0]})).manifest.key,
    }
    assert len(keys) == 5


@pytest.mark.parametrize("study", [STUDY, Study(name="one", grid={"synthesis.steps": [5]}, seeds=[0])])
def test_a_study_whose_runs_all_failed_is_gathered_too(store, study):
    artifact = gather(store, study, study.runs(), {}, {(run.arm, run.seed): "no GPU" for run in study.runs()})
    assert len(artifact.read_table("failures")) == len(study.runs())
    assert artifact.read_table("runs").empty
    assert artifact.read_table("summary").empty


def test_a_run_without_an_outcome_is_refused(store):
    with pytest.raises(ValueError, match="got none of steps=6, seed 2"):
        gather(store, STUDY, STUDY.runs(), dict(list(reports(store).items())[:-1]), {})


def test_cleaning_keeps_an_ablation_and_all_that_it_comes_from(store):
    gathered(store)
    handmade.publish(store, write_three_files, "classifier", "a" * 24)
    gone = clean(store, Extent(unreachable=True))
    assert [leftover.path.name for leftover in gone] == ["a" * 24]
    assert len(list(store.names("ablation"))) == 1


def test_an_ablation_is_kept_when_its_reports_are_let_go(store):
    key = gathered(store).manifest.key
    shutil.rmtree(store.root / "report")
    handmade.publish(store, write_three_files, "classifier", "a" * 24)
    assert [leftover.path.name for leftover in clean(store, Extent(unreachable=True))] == ["a" * 24]
    assert list(store.names()) == [("ablation", key)]


def test_the_artifact_commands_know_it(store):
    artifact, other = gathered(store), gathered(store, failures=FAILED)
    key = artifact.manifest.key
    for arguments, words in (
        (["ls", "--stage", "ablation"], "2 artifacts"),
        (["verify"], "0 damaged"),
        (["show", key], "report/steps=5/0: "),
        (["lineage", key], "report/steps=6/2 000000000000000000000005"),
        (["diff", key, other.manifest.key], "input report/steps=6/2"),
    ):
        result = invoke("artifacts", *arguments, "--store", store.root)
        assert result.exit_code == 0, result.output
        assert words in result.stdout
