"""The whole method without an orchestrator: reproducible to the byte, readable with common libraries."""

import io
import shutil

import pandas as pd
import pytest
from PIL import Image

from fedsyn import pipeline
from fedsyn.config import Execution
from fedsyn.presets import load_experiment
from tests.e2e.tiny import EXPERIMENT, OVERRIDES, STAGE_NAMES, contents


def run(store, experiment=EXPERIMENT):
    return pipeline.run(experiment, Execution(store=str(store), device="cpu", threads=1))


@pytest.fixture(scope="module")
def finished(tiny):
    """A store that is only read, and what a run finds there."""
    return tiny, run(tiny)


def test_two_clean_stores_hold_the_same_bytes(finished, tmp_path):
    store, _ = finished
    run(tmp_path / "other")
    first, second = contents(store), contents(tmp_path / "other")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_second_run_computes_nothing(finished):
    assert all(result.cached for result in finished[1].values())


def test_a_change_of_guidance_runs_synthesis_and_what_follows_from_its_images_only(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "store")
    results = run(tmp_path / "store", load_experiment("digits", OVERRIDES | {"synthesis.guidance_scale": 2.0}))
    assert [name for name in STAGE_NAMES if not results[name].cached] == ["synthesis", "retrain", "quality", "report"]


@pytest.mark.parametrize("stage", ["partition", "latents", "synthesis"])
def test_a_deleted_stage_runs_again_and_what_follows_is_cached(stage, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / stage)
    results = run(tmp_path / "store")
    assert [name for name in STAGE_NAMES if not results[name].cached] == [stage]


def test_another_seed_shares_only_the_data_set_and_its_judge():
    ours, theirs = pipeline.keys(EXPERIMENT), pipeline.keys(load_experiment("digits", OVERRIDES | {"seed": 1}))
    assert [name for name in STAGE_NAMES if ours[name] == theirs[name]] == ["dataset", "judge"]


def test_the_plan_is_carried_out_to_the_image(finished):
    store, results = finished
    folder = store / "synthesis" / results["synthesis"].manifest.key
    plan = pd.read_parquet(folder / "plan.parquet")
    images = pd.read_parquet(folder / "images.parquet")
    made = images.groupby(["client_id", "class_id"]).size()
    wanted = plan[plan["to_generate"] > 0].set_index(["client_id", "class_id"])["to_generate"]
    assert made.to_dict() == wanted.to_dict()
    assert (plan["to_generate"] == (plan["target"] - plan["have"]).clip(lower=0)).all()
    assert Image.open(io.BytesIO(images["image"][0]["bytes"])).size == (8, 8)


def test_training_sees_no_hidden_label(finished):
    """The labels of the unlabelled pool are null in the table that training reads."""
    store, results = finished
    table = pd.read_parquet(store / "partition" / results["partition"].manifest.key / "assignments.parquet")
    assert table.loc[table["role"] == "unlabeled", "label"].isna().all()
    assert table.loc[table["role"] != "unlabeled", "label"].notna().all()


def test_both_trainings_start_from_the_same_weights_and_report_the_last_round(finished):
    store, results = finished
    for stage in ("classifier", "retrain"):
        manifest = results[stage].manifest
        history = pd.read_parquet(store / stage / manifest.key / "history.parquet")
        assert len(history) == OVERRIDES["classifier.rounds"]
        assert history["test_accuracy"].iloc[-1] == pytest.approx(manifest.metrics["test_accuracy"])
