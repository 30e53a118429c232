"""One stage at a time, from the store or into it, on the real digits."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedsyn import graph, pipeline
from fedsyn.artifacts import Manifest, Store, StoreError
from fedsyn.config import Execution, Experiment
from fedsyn.data.catalogue import DatasetError, fingerprint
from fedsyn.data.partition import PartitionError
from fedsyn.federated.classification import probabilities
from fedsyn.federated.privacy import epsilon
from fedsyn.pipeline import Result, run_stage
from fedsyn.stages.classifier import load_classifier

EXPERIMENT = Experiment.model_validate(
    {"partition": {"num_clients": 5, "labeled_fraction": 0.2}, "classifier": {"rounds": 2, "width": 8}}
)
STAGES = (graph.DATASET, graph.PARTITION, graph.CLASSIFIER, graph.PSEUDO_LABELS, graph.SELECTION)


def execution(store: Path) -> Execution:
    return Execution(store=str(store), device="cpu", threads=1)


def run(store: Path, experiment: Experiment = EXPERIMENT, stages=STAGES) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for stage in stages:
        manifests = {name: results[name].manifest for name in stage.inputs}
        results[stage.name] = run_stage(stage, experiment, execution(store), manifests)
    return results


def folder(store: Path, manifest: Manifest) -> Path:
    return store / manifest.stage / manifest.key


def contents(store: Path, manifest: Manifest) -> dict[str, bytes]:
    """Every file of an artifact but its manifest, which holds the times."""
    root = folder(store, manifest)
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store that holds the stages from dataset to selection."""
    store = tmp_path_factory.mktemp("finished") / "store"
    return store, run(store)


@pytest.fixture
def store(finished, tmp_path):
    """A copy of it, to do harm to."""
    shutil.copytree(finished[0], tmp_path / "store")
    return tmp_path / "store"


def cached(results: dict[str, Result]) -> dict[str, bool]:
    return {name: result.cached for name, result in results.items()}


def test_the_first_run_computes_every_stage(finished):
    assert not any(cached(finished[1]).values())


def test_the_second_run_computes_nothing_and_returns_the_same_manifests(finished, store):
    again = run(store)
    assert all(cached(again).values())
    assert {name: result.manifest for name, result in again.items()} == {
        name: result.manifest for name, result in finished[1].items()
    }


def test_two_clean_stores_are_equal_to_the_byte(finished, tmp_path):
    first_store, first = finished
    second = run(tmp_path / "second")
    for name, result in second.items():
        files = contents(tmp_path / "second", result.manifest)
        assert files == contents(first_store, first[name].manifest), name
        assert files
        assert result.manifest.digest == first[name].manifest.digest
        assert result.manifest.metrics == pytest.approx(first[name].manifest.metrics, nan_ok=True, abs=0, rel=0)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_flipped_byte_is_seen_and_the_stage_computed_again_with_equal_bytes(finished, store, stage):
    manifest = finished[1][stage.name].manifest
    before = contents(store, manifest)
    path = folder(store, manifest) / manifest.files[-1].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    again = run(store)
    assert cached(again) == {other.name: other is not stage for other in STAGES}
    assert contents(store, manifest) == before
    assert len(list((store / "quarantine").iterdir())) == 1


def test_a_deleted_artifact_is_computed_again_and_what_came_after_it_is_kept(finished, store):
    manifest = finished[1]["partition"].manifest
    before = contents(store, manifest)
    shutil.rmtree(folder(store, manifest))
    again = run(store)
    assert [name for name, was_there in cached(again).items() if not was_there] == ["partition"]
    assert contents(store, manifest) == before


def test_what_was_made_from_other_bytes_of_its_input_is_made_again(finished, store):
    results = {name: result.manifest for name, result in finished[1].items()}
    other = results["pseudo_labels"].files[0].model_copy(update={"sha256": "0" * 64})
    results["pseudo_labels"] = results["pseudo_labels"].model_copy(
        update={"files": (other, *results["pseudo_labels"].files[1:])}
    )
    with pytest.raises(StoreError, match=r"pseudo_labels/.*has changed"):
        run_stage(graph.SELECTION, EXPERIMENT, execution(store), results)
    assert Store(store).find("selection", results["selection"].key) is None


def test_another_setting_computes_its_stage_and_those_after_it_beside_the_old_ones(finished, store):
    experiment = EXPERIMENT.model_copy(
        update={"pseudo_labels": EXPERIMENT.pseudo_labels.model_copy(update={"calibration": "train"})}
    )
    results = run(store, experiment)
    changed = [name for name, was_there in cached(results).items() if not was_there]
    assert changed == ["pseudo_labels", "selection"]
    assert len(list((store / "pseudo_labels").iterdir())) == 2
    assert all(cached(run(store)).values())


def test_how_a_run_is_carried_out_changes_no_key(finished, store):
    manifest = finished[1]["dataset"].manifest
    result = run_stage(graph.DATASET, EXPERIMENT, Execution(store=str(store), device="auto", threads=2), {})
    assert result == Result(manifest, cached=True)


def test_the_manifest_says_what_was_done(finished):
    _, results = finished
    manifest = results["classifier"].manifest
    assert manifest.stage == "classifier"
    assert manifest.config == {"seed": 0, "classifier": EXPERIMENT.classifier.key_fields()}
    assert set(manifest.inputs) == {"dataset", "partition"}
    for name, read in manifest.inputs.items():
        assert (read.key, read.digest) == (results[name].manifest.key, results[name].manifest.digest)
    assert manifest.attempts[-1].libraries["torch"] == version("torch")
    assert (manifest.attempts[-1].device, manifest.attempts[-1].threads) == ("cpu", 1)
    assert len(manifest.attempts) == 1
    assert manifest.finished >= manifest.attempts[0].started
    assert manifest.fingerprint is None
    assert results["dataset"].manifest.fingerprint == fingerprint(EXPERIMENT.dataset)


def test_the_stages_learn_something_and_their_tables_agree(finished):
    store, results = finished
    opened = {name: Store(store).open(result.manifest) for name, result in results.items()}
    assignments = opened["partition"].read_table("assignments")
    assert len(assignments) == 1797
    labels = opened["selection"].read_table("labels")
    unlabeled = assignments[assignments["role"] == "unlabeled"]
    assert labels["sample_id"].tolist() == unlabeled["sample_id"].tolist()
    assert labels["client_id"].tolist() == unlabeled["client_id"].tolist()
    assert results["classifier"].manifest.metrics["test_accuracy"] > 0.15

    hidden = opened["partition"].read_table("hidden_labels")
    correct = (labels["pseudo_label"] == hidden["label"]).mean()
    assert results["selection"].manifest.metrics["precision_before"] == pytest.approx(correct)

    predictions = opened["classifier"].read_table("test_predictions")
    test = assignments[assignments["role"] == "test"]
    assert predictions["sample_id"].tolist() == test["sample_id"].tolist()
    accuracy = (predictions["prediction"].to_numpy() == test["label"].to_numpy()).mean()
    assert results["classifier"].manifest.metrics["test_accuracy"] == pytest.approx(accuracy)
    history = opened["classifier"].read_table("history")
    assert history["round"].tolist() == [1, 2]
    holders = assignments.loc[assignments["role"] == "labeled", "client_id"].nunique()
    assert history["clients"].tolist() == [holders, holders]
    assert history["test_accuracy"].iloc[-1] == pytest.approx(accuracy)


def with_classifier(**changes: object) -> Experiment:
    classifier = EXPERIMENT.classifier.model_dump() | changes
    return Experiment.model_validate(EXPERIMENT.model_dump() | {"classifier": classifier})


@pytest.mark.parametrize("statistics", ["aggregate", "recompute", "local"])
def test_a_classifier_with_batch_normalisation_is_published_and_read_again(store, statistics):
    results = run(store, with_classifier(normalization="batch", batch_statistics=statistics))
    opened = {name: Store(store).open(result.manifest) for name, result in results.items()}
    model = load_classifier(opened["classifier"], opened["dataset"].read_json("info"))
    assert ("norm1.running_var" in dict(model.named_buffers())) == (statistics != "local")
    predictions = opened["classifier"].read_table("test_predictions")
    images = opened["dataset"].read_tensors("images")["images"][torch.tensor(predictions["sample_id"].to_numpy())]
    assert probabilities(model, images).argmax(1).tolist() == predictions["prediction"].tolist()


def test_a_client_predicts_with_local_statistics_from_its_own_images_alone(store):
    results = run(store, with_classifier(normalization="batch", batch_statistics="local"))
    opened = {name: Store(store).open(result.manifest) for name, result in results.items()}
    model = load_classifier(opened["classifier"], opened["dataset"].read_json("info"))
    images = opened["dataset"].read_tensors("images")["images"]
    labels = opened["pseudo_labels"].read_table("labels")
    for _, own in labels.groupby("client_id"):
        confidence, label = probabilities(model, images[torch.tensor(own["sample_id"].to_numpy())]).max(1)
        assert label.tolist() == own["pseudo_label"].tolist()
        assert confidence.tolist() == pytest.approx(own["confidence"].tolist(), abs=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_what_privacy_was_spent_is_in_the_manifest(store, noise):
    experiment = with_classifier(privacy={"clip_norm": 1.0, "noise_multiplier": noise})
    manifest = run(store, experiment, STAGES[:3])["classifier"].manifest
    assert (manifest.metrics["epsilon"], manifest.metrics["delta"]) == (epsilon(experiment.classifier), 1e-5)
    assert run(store, experiment, STAGES[:3])["classifier"] == Result(manifest, cached=True)


def test_an_input_that_is_gone_is_an_error_that_says_so(finished, store):
    results = {name: result.manifest for name, result in finished[1].items()}
    shutil.rmtree(folder(store, results["selection"]))
    shutil.rmtree(folder(store, results["partition"]))
    with pytest.raises(StoreError, match=r"partition/.*is gone.*run again"):
        run_stage(graph.SELECTION, EXPERIMENT, execution(store), results)


def test_a_stage_that_fails_publishes_nothing(finished, store):
    partition = EXPERIMENT.partition.model_copy(update={"min_labeled": 1000})
    experiment = EXPERIMENT.model_copy(update={"partition": partition})
    before = sorted(store.rglob("*"))
    with pytest.raises(PartitionError, match=r"partition\.min_labeled"):
        run(store, experiment)
    assert sorted(store.rglob("*")) == before


def test_missing_data_are_an_error_before_anything_is_written(tmp_path):
    experiment = Experiment.model_validate({"dataset": {"name": "mnist", "root": str(tmp_path)}})
    with pytest.raises(DatasetError, match="mnist"):
        run(tmp_path / "store", experiment)
    assert not (tmp_path / "store").exists()


def test_a_run_in_one_call_goes_through_every_stage_in_order(finished, store, monkeypatch):
    monkeypatch.setattr(pipeline, "nodes", lambda experiment: graph.nodes(experiment)[: len(STAGES)])
    results = pipeline.run(EXPERIMENT, execution(store))
    assert list(results) == [stage.name for stage in STAGES]
    assert all(cached(results).values())


@pytest.mark.parametrize("name", ["dataset", "partition", "pseudo_labels", "selection"])
def test_every_table_is_readable_with_pandas_alone(finished, name):
    store, results = finished
    tables = list(folder(store, results[name].manifest).glob("*.parquet"))
    assert tables
    for table in tables:
        assert len(pd.read_parquet(table)) > 0


def test_a_device_that_is_not_there_is_refused():
    assert pipeline.resolve_device("cpu") == torch.device("cpu")
    assert pipeline.resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"execution\.device must be .* has 0 of CUDA, got 'cuda:1'"):
            pipeline.resolve_device("cuda:1")


def test_the_keys_of_an_experiment_are_known_before_it_runs(finished):
    known = pipeline.keys(EXPERIMENT)
    assert {name: result.manifest.key for name, result in finished[1].items()}.items() <= known.items()


def test_a_hit_of_another_major_version_of_a_library_is_used_with_a_warning(finished, store, caplog):
    manifest = finished[1]["partition"].manifest
    attempt = manifest.attempts[-1]
    older = attempt.model_copy(update={"libraries": attempt.libraries | {"torch": "1.13.0", "diffusers": "0.1.0"}})
    changed = manifest.model_copy(update={"attempts": (older,)})
    (folder(store, manifest) / "manifest.json").write_text(changed.sealed())
    results = run(store, stages=(graph.DATASET, graph.PARTITION))
    assert results["partition"] == Result(changed, cached=True)
    assert f"partition/{manifest.key} was made by torch 1.13.0 (now {version('torch')}), diffusers 0.1.0" in caplog.text
