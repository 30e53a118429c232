"""What a study needs, counted against stores made by hand."""

import shutil

import pytest

from fedsyn.ablation import StageCount, Study, keys_of_each_run, plan_study
from fedsyn.ablation import planning as module
from fedsyn.artifacts import Input, Store
from fedsyn.data.catalogue import DatasetError
from fedsyn.graph import STAGES
from fedsyn.pipeline import keys
from tests import handmade
from tests.artifacts.damages import half_a_manifest

STUDY = Study(name="guidance", grid={"synthesis.guidance_scale": [1.0, 2.0]}, seeds=[0, 1])
RUNS = STUDY.runs()
KEYS = keys_of_each_run(RUNS)
ONCE = ["dataset", "judge"]
ONCE_A_RUN = ["synthesis", "retrain", "quality", "report"]
ONCE_A_SEED = [stage.name for stage in STAGES if stage.name not in ONCE + ONCE_A_RUN]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, known: dict[str, str], **seconds: float) -> None:
    """All artifacts of a run that are not there yet; a stage takes a second, or what `seconds` says."""
    made: dict[str, Input] = {}
    for stage in STAGES:
        found = store.manifest(stage.name, known[stage.name])
        if found is None:
            inputs = {name: made[name] for name in stage.inputs}
            write = lambda folder, name=stage.name: folder.write_json("stage", name)  # noqa: E731
            took = seconds.get(stage.name, 1.0)
            found = handmade.publish(store, write, stage.name, known[stage.name], inputs, seconds=took).manifest
        made[stage.name] = Input(key=found.key, digest=found.digest)


def counted(store: Store) -> dict[str, StageCount]:
    return {count.stage: count for count in plan_study(RUNS, KEYS, store)}


def test_the_keys_are_those_of_the_runs_and_the_data_are_read_once(monkeypatch):
    read = []
    fingerprint = module.fingerprint
    monkeypatch.setattr(module, "fingerprint", lambda settings: read.append(settings) or fingerprint(settings))
    assert keys_of_each_run(RUNS) == [keys(run.experiment) for run in RUNS]
    assert len(read) == 1


def test_data_that_are_not_there_are_refused():
    with pytest.raises(DatasetError, match="/nowhere"):
        keys_of_each_run(Study(name="far", preset="fashion-mnist", overrides={"dataset.root": "/nowhere"}).runs())


def test_in_an_empty_store_all_is_new_and_no_time_is_known(store):
    """Two arms with two seeds: the data set and its judge once, up to the denoiser once a seed, the rest once a run."""
    counts = counted(store)
    assert list(counts) == [stage.name for stage in STAGES]
    for name in ONCE:
        assert counts[name] == StageCount(name, needed=4, artifacts=1, cached=0, shared=1, seconds=None)
    for name in ONCE_A_SEED:
        assert counts[name] == StageCount(name, needed=4, artifacts=2, cached=0, shared=2, seconds=None)
    for name in ONCE_A_RUN:
        assert counts[name] == StageCount(name, needed=4, artifacts=4, cached=0, shared=0, seconds=None)
    assert counts["report"].new == 4
    assert not store.root.exists()


def test_of_a_store_with_one_run_what_is_there_is_cached_and_the_rest_may_take_as_long(store):
    publish(store, KEYS[0], denoiser=7.0, synthesis=3.0)
    counts = counted(store)
    assert counts["dataset"] == StageCount("dataset", needed=4, artifacts=1, cached=1, shared=1, seconds=0)
    assert counts["denoiser"] == StageCount("denoiser", needed=4, artifacts=2, cached=1, shared=2, seconds=7.0)
    assert counts["synthesis"] == StageCount("synthesis", needed=4, artifacts=4, cached=1, shared=0, seconds=9.0)


def test_a_new_artifact_may_take_the_median_of_its_stage(store):
    for known, seconds in zip(KEYS[:3], (2.0, 50.0, 4.0), strict=True):
        publish(store, known, synthesis=seconds)
    assert counted(store)["synthesis"].seconds == 4.0


def test_times_of_another_data_set_say_nothing(store):
    publish(store, {name: f"{number:024x}" for number, name in enumerate(KEYS[0])}, denoiser=7.0)
    assert counted(store)["denoiser"].seconds is None


def test_of_a_store_with_all_runs_nothing_is_new(store):
    for known in KEYS:
        publish(store, known)
    counts = counted(store).values()
    assert sum(count.new for count in counts) == 0
    assert sum(count.cached for count in counts) == len(ONCE) + 2 * len(ONCE_A_SEED) + 4 * len(ONCE_A_RUN)


def test_what_is_gone_damaged_or_made_of_other_bytes_is_new(store):
    """Of the two runs of seed 0, which share their latents, denoiser, synthesis and report have read others."""
    for known in KEYS:
        publish(store, known)
    shutil.rmtree(store.folder("classifier", KEYS[0]["classifier"]))
    half_a_manifest(store.folder("report", KEYS[0]["report"]))
    path = store.folder("latents", KEYS[0]["latents"]) / "manifest.json"
    manifest = store.manifest("latents", KEYS[0]["latents"])
    files = tuple(file.model_copy(update={"sha256": "0" * 64}) for file in manifest.files)
    path.write_text(manifest.model_copy(update={"files": files}).sealed())
    new = {name: count.new for name, count in counted(store).items() if count.new}
    assert new == {"classifier": 1, "denoiser": 1, "synthesis": 2, "report": 2}


def test_arms_of_one_and_of_several_cycles_share_what_comes_before_the_first_that_differs(store):
    runs = Study(name="cycles", grid={"retrain.cycles": [1, 2, 3]}, seeds=[0]).runs()
    known = keys_of_each_run(runs)
    publish(store, known[0])
    counts = {count.stage: count for count in plan_study(runs, known, store)}
    artifacts = {name: count.artifacts for name, count in counts.items() if count.artifacts > 1}
    assert artifacts == dict.fromkeys(
        ("pseudo_labels", "selection", "denoiser", "synthesis", "retrain", "self_training", "quality", "report"), 3
    )
    assert {name: count.new for name, count in counts.items() if count.new} == dict.fromkeys(artifacts, 2)
    assert counts["denoiser"].shared == 2  # the first cycle's by three runs, the second's by two
    assert counts["report"].shared == 0
    assert (counts["partition"].needed, counts["denoiser"].needed, counts["report"].needed) == (3, 6, 3)
