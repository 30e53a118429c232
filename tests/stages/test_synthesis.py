"""The synthesis stage on models that nobody has trained: who gets how many images, which, and what is left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Checkpoints, Folder, Store
from fedsyn.config import Denoiser, Experiment, Synthesis
from fedsyn.context import Context
from fedsyn.stages.synthesis import load_images, make_plan, run
from tests import handmade
from tests.synthesis.untrained import CLIENTS, publish_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Artifact]:
    return publish_inputs(Store(tmp_path_factory.mktemp("inputs")))


def synthesise(inputs: dict[str, Artifact], folder: Path, **settings: object) -> tuple[Artifact, dict[str, float]]:
    folder.mkdir()
    output = Folder(folder / "output")
    context = Context("synthesis", torch.device("cpu"), Checkpoints(folder / "checkpoints"))
    synthesis = Synthesis.model_validate({"steps": 2, "guidance_scale": 1, **settings})
    metrics = run(inputs, output, context, seed=0, synthesis=synthesis)
    return Artifact(output.root, handmade.manifest(output)), metrics


def planned(inputs: dict[str, Artifact], column: str, **settings: object) -> list[list[int]]:
    plan = make_plan(inputs, Synthesis.model_validate(settings), 3)
    return plan.pivot(index="client_id", columns="class_id", values=column).to_numpy().tolist()


def test_a_client_has_its_labels_and_if_asked_the_pseudo_labels_that_were_selected(inputs):
    assert planned(inputs, "have") == [[0, 1, 0], [1, 1, 0], [2, 1, 0], [3, 1, 0]]
    assert planned(inputs, "have", have="labels_and_pseudo_labels") == [[0, 2, 0], [1, 1, 0], [2, 1, 0], [3, 1, 1]]


def test_pseudo_labels_count_against_what_is_missing(inputs):
    missing = planned(inputs, "to_generate", target="balance", per_class=3)
    assert missing == [[3, 2, 3], [2, 2, 3], [1, 2, 3], [0, 2, 3]]
    missing = planned(inputs, "to_generate", target="balance", per_class=3, have="labels_and_pseudo_labels")
    assert missing == [[3, 1, 3], [2, 2, 3], [1, 2, 3], [0, 2, 2]]


def test_a_fixed_number_is_made_of_every_class_at_every_client(inputs, tmp_path):
    artifact, metrics = synthesise(inputs, tmp_path / "fixed", target="fixed", per_class=2)
    counts = load_images(artifact)[1].groupby(["client_id", "class_id"]).size()
    assert counts.tolist() == [2] * 3 * CLIENTS
    assert (metrics["generated"], metrics["drawn"], metrics["kept"]) == (24, 24, 24)


def test_what_the_denoiser_never_saw_is_left_out(inputs, tmp_path):
    """Without the pseudo-label of client 3, nobody has an image of class 2."""
    labels = inputs["selection"].read_table("labels").assign(selected=False)
    folder = Folder(tmp_path / "selection")
    folder.write_table("labels", labels, pq.read_schema(inputs["selection"].root / "labels.parquet"))
    poorer = inputs | {"selection": Artifact(folder.root, inputs["selection"].manifest)}
    assert planned(poorer, "to_generate", target="fixed", per_class=2) == [[2, 2, 0]] * CLIENTS


def test_a_pool_is_drawn_once_and_dealt_out(inputs, tmp_path):
    settings = {"target": "balance", "per_class": 3}
    own, _ = synthesise(inputs, tmp_path / "own", **settings)
    pool, metrics = synthesise(inputs, tmp_path / "pool", shared_pool=True, **settings)
    assert (own.root / "plan.parquet").read_bytes() == (pool.root / "plan.parquet").read_bytes()
    assert metrics["drawn"] == 3 + 2 + 3
    assert metrics["generated"] == metrics["kept"] == 26
    assert pq.read_schema(pool.root / "images.parquet").equals(pq.read_schema(own.root / "images.parquet"))
    images, rows = load_images(pool)
    assert (
        rows.groupby(["client_id", "class_id"])
        .size()
        .equals(load_images(own)[1].groupby(["client_id", "class_id"]).size())
    )
    same = rows.groupby(["class_id", "index"]).indices.values()
    assert len(same) == 8
    for copies in same:
        assert (images[copies] == images[copies[0]]).all()
    assert len(np.unique(images.flatten(1).numpy(), axis=0)) == 8


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_published_does_not_depend_on_the_batch(inputs, tmp_path, shared):
    settings = {"target": "fixed", "per_class": 2, "shared_pool": shared, "sampler": "ddim"}
    images, rows = load_images(synthesise(inputs, tmp_path / "one", batch_size=1, **settings)[0])
    for batch_size in (5, None):
        other = load_images(synthesise(inputs, tmp_path / f"{batch_size}", batch_size=batch_size, **settings)[0])
        assert other[1].equals(rows)
        assert (other[0].int() - images.int()).abs().max() <= 1


def test_the_filter_keeps_what_the_classifier_confirms_and_the_plan_says_of_what(inputs, tmp_path):
    settings = {"target": "fixed", "per_class": 4}
    every, metrics = synthesise(inputs, tmp_path / "all", **settings)
    some, filtered = synthesise(inputs, tmp_path / "some", filter=True, **settings)
    assert filtered["classifier_agreement"] == metrics["classifier_agreement"]
    assert filtered["kept"] == round(metrics["classifier_agreement"] * 48) == len(load_images(some)[1])
    assert 0 < filtered["kept"] < 48
    kept = load_images(some)[1].groupby(["client_id", "class_id"]).size()
    plan = some.read_table("plan").set_index(["client_id", "class_id"])["kept"]
    assert plan[plan > 0].to_dict() == kept.to_dict()
    pairs = [pd.MultiIndex.from_frame(load_images(artifact)[1]) for artifact in (some, every)]
    assert pairs[0].isin(pairs[1]).all()


def test_a_plan_that_asks_for_nothing_is_refused(inputs, tmp_path):
    """Where every class is unknown to the denoiser, nobody can ask for anything."""
    folder = Folder(tmp_path / "partition")
    assignments = inputs["partition"].read_table("assignments")
    folder.write_table("assignments", assignments[assignments["role"] != "labeled"], schemas.ASSIGNMENTS)
    folder.write_json("summary", {"num_clients": CLIENTS})
    nobody = inputs | {"partition": Artifact(folder.root, inputs["partition"].manifest)}
    with pytest.raises(ValueError, match=r"synthesis\.target 'global' asks for no image.*synthesis\.per_class higher"):
        synthesise(nobody, tmp_path / "none", target="global")


def test_a_denoiser_of_another_run_is_refused(inputs, tmp_path):
    other = publish_inputs(Store(tmp_path / "other"), Denoiser(channels=(8,), attention=False))["denoiser"]
    config = other.root / "unet" / "config.json"
    config.write_text(config.read_text().replace('"sample_size": 4', '"sample_size": 8'))
    with pytest.raises(
        ValueError, match=r"denoiser makes latents of shape \(2, 8, 8\), the autoencoder decodes \(2, 4, 4\)"
    ):
        synthesise(inputs | {"denoiser": other}, tmp_path / "run", target="fixed", per_class=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "fixed"}, "target 'fixed' needs per_class, the number of synthetic images of a class, got null"),
        ({"guidance_interval": [0.5, 0.5]}, r"guidance_interval must ascend, got \[0.5, 0.5\]"),
        ({"guidance_scale": 0.5}, "greater than or equal to 1"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_settings_are_refused_before_any_work(settings, message):
    with pytest.raises(ValidationError, match=message):
        Synthesis.model_validate(settings)


def test_more_steps_than_the_schedule_has_are_refused():
    with pytest.raises(ValidationError, match=r"synthesis\.steps must be <= denoiser\.timesteps \(10\), got 11"):
        Experiment.model_validate({"denoiser": {"timesteps": 10}, "synthesis": {"steps": 11}})
