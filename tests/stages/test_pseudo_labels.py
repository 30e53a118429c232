"""Step 2 on the real digits: cross-fitting that is killed, alignment, and what happens where nothing can be known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedsyn import graph, interruption
from fedsyn.artifacts import Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.interruption import Interrupted
from fedsyn.pipeline import run_stage
from tests.test_stopped_stages import Listener

BASE = {
    "partition": {"num_clients": 3, "labeled_fraction": 0.1, "calibration_fraction": 0.0},
    "classifier": {"rounds": 2, "width": 8, "local_steps": 2},
}
CROSS_FIT = BASE | {"pseudo_labels": {"calibration": "cross_fit", "folds": 3, "distribution_alignment": "client"}}
UPSTREAM = (graph.DATASET, graph.PARTITION, graph.CLASSIFIER)


def run(store: Path, sections: dict, stages: tuple[graph.Stage, ...], done: dict | None = None) -> dict[str, Manifest]:
    """The manifests of `stages`, after those that are `done`."""
    experiment, results = Experiment.model_validate(sections), dict(done or {})
    execution = Execution(store=str(store), device="cpu", threads=1, engine="sequential", checkpoint_seconds=None)
    for stage in stages:
        inputs = {name: results[name] for name in stage.inputs}
        results[stage.name] = run_stage(stage, experiment, execution, inputs).manifest
    return results


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pseudo-labels") / "store"


@pytest.fixture(scope="module")
def upstream(store) -> dict[str, Manifest]:
    return run(store, BASE | {"pseudo_labels": {"calibration": "train"}}, UPSTREAM)


@pytest.fixture(scope="module")
def whole(store, upstream) -> dict[str, Manifest]:
    """Cross-fitting and client alignment in one piece, and the selection from it."""
    return run(store, CROSS_FIT, (graph.PSEUDO_LABELS, graph.SELECTION), upstream)


def table(store: Path, manifest: Manifest, name: str) -> pd.DataFrame:
    return pd.read_parquet(store / manifest.stage / manifest.key / f"{name}.parquet")


def test_every_label_trains_and_calibrates(store, whole):
    assignments = table(store, whole["partition"], "assignments")
    labeled = assignments.loc[assignments["role"] == "labeled", "sample_id"].tolist()
    calibration = table(store, whole["pseudo_labels"], "calibration")
    assert calibration["sample_id"].tolist() == labeled
    assert whole["pseudo_labels"].metrics["calibration_samples"] == len(labeled)
    assert whole["classifier"].metrics.keys() >= {"test_accuracy"}


@pytest.mark.parametrize("after", [1, 4])
def test_killed_inside_a_fold_it_publishes_the_same_bytes(after, tmp_path, whole, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(interruption, "_asked", asked)
    upstream = run(tmp_path, BASE | {"pseudo_labels": {"calibration": "train"}}, UPSTREAM)
    words = f"rounds {after} of 6"
    with Listener(lambda message: asked.append("SIGTERM") if words in message else None), pytest.raises(Interrupted):
        run(tmp_path, CROSS_FIT, (graph.PSEUDO_LABELS,), upstream)
    asked.clear()
    told: list[str] = []
    with Listener(told.append):
        again = run(tmp_path, CROSS_FIT, (graph.PSEUDO_LABELS,), upstream)["pseudo_labels"]
    assert len(again.attempts) == 2
    assert sum("rounds" in message and " of 6" in message for message in told) == 6 - after
    assert again.digest == whole["pseudo_labels"].digest


def test_client_alignment_is_calibrated_for_the_unlabelled_pool(store, whole):
    """The weighted matrices stand for all unlabelled samples of the classes that have a calibration sample."""
    from safetensors.numpy import load_file

    manifest = whole["pseudo_labels"]
    counts = load_file(store / "pseudo_labels" / manifest.key / "counts.safetensors")
    assert counts["confusion"].dtype == np.float64
    assert counts["confusion"][0].sum() == pytest.approx(manifest.metrics["predicted"], rel=1e-6)
    assert (counts["samples"] <= manifest.metrics["calibration_samples"]).all()
    assert counts["predicted"][0].sum() == manifest.metrics["predicted"]
    assert manifest.metrics["calibration_accuracy_without_mixtures"] < 0.5  # two rounds: it says so
    metrics = whole["selection"].metrics
    assert 0 <= metrics["precision_error"] <= 1
    assert 0 <= metrics["bounds_held"] <= 1


@pytest.mark.parametrize("alignment", ["none", "global", "client"])
def test_without_any_calibration_sample_there_is_a_warning_and_no_estimate(alignment, store, upstream, caplog):
    """One label a client at most is held out of the few that there are: none."""
    sections = BASE | {
        "partition": BASE["partition"] | {"labeled_fraction": 0.006, "calibration_fraction": 0.01},
        "pseudo_labels": {"temperature_scaling": True, "distribution_alignment": alignment},
    }
    results = run(store, sections, (*UPSTREAM, graph.PSEUDO_LABELS, graph.SELECTION))
    assert results["pseudo_labels"].metrics["calibration_samples"] == 0
    assert results["pseudo_labels"].metrics["temperature"] == 1
    assert "no client has a calibration sample" in caplog.text
    assert "raise partition.calibration_fraction" in caplog.text
    precision = table(store, results["selection"], "precision")
    assert precision["estimated_precision"].isna().all()
    assert not precision["reached"].any()
    assert np.isnan(results["selection"].metrics["bounds_held"])


def test_where_nothing_is_selected_the_stage_says_so_and_labels_alone_are_left(store, whole, caplog):
    from fedsyn.artifacts import Store
    from fedsyn.stages.classifier import believed_samples

    sections = CROSS_FIT | {"selection": {"min_per_class": 10_000, "target_precision": 1.0}}
    manifest = run(store, sections, (graph.SELECTION,), whole)["selection"]
    assert (manifest.metrics["selected"], manifest.metrics["coverage"]) == (0, 0)
    assert manifest.metrics["classes_without_selection"] == 10
    assert "no pseudo-label was kept" in caplog.text
    inputs = {name: Store(store).open(whole[name]) for name in ("partition",)} | {
        "selection": Store(store).open(manifest)
    }
    assert len(believed_samples(inputs)) == whole["pseudo_labels"].metrics["calibration_samples"]
