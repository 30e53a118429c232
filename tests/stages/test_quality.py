"""The quality of images whose faults are known: copies, one image again and again, and noise."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Checkpoints, Folder, Store
from fedsyn.config import Dataset, Judge, Quality, Synthesis
from fedsyn.context import Context
from fedsyn.stages import dataset, judge, quality
from tests import handmade

JUDGE = Judge(rounds=2, local_steps=60, width=8)
SETTINGS = Quality(classification_rounds=1, most_images=300)
COPIES, ONE_IMAGE, NOISE, FRESH = range(4)
NUM_TRAIN = 1437


def context(store: Store, stage: str) -> Context:
    return Context(stage, torch.device("cpu"), Checkpoints(store.root / f"{stage}-checkpoints"))


def publish(store: Store, stage: str, write) -> Artifact:
    return handmade.publish(store, write, stage)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("quality") / "store")


@pytest.fixture(scope="module")
def inputs(store) -> dict[str, Artifact]:
    """The digits. Every second training image has trained the denoiser, and of each class there are 30 synthetic
    images: of class 0 copies of those that it has seen, of class 1 one image again and again, of class 2 noise, and of
    the other classes training images that it has not seen, which is what a perfect generator would make."""
    digits = publish(
        store, "dataset", lambda folder: dataset.run({}, folder, context(store, "dataset"), dataset=Dataset())
    )
    labels = digits.read_table("labels")["label"].to_numpy(np.int64)
    images = digits.read_tensors("images")["images"].numpy()
    seen, unseen = np.arange(0, NUM_TRAIN, 2), np.arange(1, NUM_TRAIN, 2)

    def write_partition(folder: Folder) -> None:
        rows = pd.DataFrame({"sample_id": np.arange(len(labels)), "client_id": 0, "role": "test", "label": labels})
        rows.loc[seen, "role"], rows.loc[unseen, "role"] = "labeled", "unlabeled"
        folder.write_table("assignments", rows.convert_dtypes(), schemas.ASSIGNMENTS)

    def write_selection(folder: Folder) -> None:
        nothing = pd.DataFrame({name: [] for name in schemas.SELECTED_LABELS.names})
        folder.write_table("labels", nothing.astype({"selected": bool}), schemas.SELECTED_LABELS)

    def write_synthesis(folder: Folder) -> None:
        made = []
        for class_id in range(10):
            pool = images[
                (seen if class_id == COPIES else unseen)[labels[seen if class_id == COPIES else unseen] == class_id]
            ]
            made.append(pool[:30])
        made[ONE_IMAGE] = np.repeat(made[ONE_IMAGE][:1], 30, axis=0)
        made[NOISE] = np.random.default_rng(0).integers(0, 256, made[NOISE].shape, dtype=np.uint8)
        pictures = [{"bytes": png(image), "path": "x.png"} for image in np.concatenate(made)]
        columns = {
            "client_id": np.zeros(300, np.int16),
            "class_id": np.repeat(np.arange(10), 30),
            "index": np.arange(300),
            "seed": np.zeros(300, np.int64),
        }
        pq.write_table(
            pa.table(columns | {"image": pictures}, schema=schemas.SYNTHETIC_IMAGES), folder.path("images.parquet")
        )

    return {
        "dataset": digits,
        "partition": publish(store, "partition", write_partition),
        "selection": publish(store, "selection", write_selection),
        "synthesis": publish(store, "synthesis", write_synthesis),
        "judge": publish(
            store, "judge", lambda folder: judge.run({"dataset": digits}, folder, context(store, "judge"), judge=JUDGE)
        ),
    }


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1)).save(buffer, format="PNG")
    return buffer.getvalue()


def measured(inputs, store, folder, shared_pool=False, **changes) -> tuple[Folder, dict[str, float]]:
    folder.mkdir()
    output = Folder(folder)
    sections = {
        "synthesis": Synthesis(shared_pool=shared_pool),
        "judge": JUDGE,
        "quality": SETTINGS.model_copy(update=changes),
    }
    return output, quality.run(inputs, output, context(store, "quality"), seed=0, **sections)


@pytest.fixture(scope="module")
def found(inputs, store, tmp_path_factory) -> tuple[Folder, dict[str, float]]:
    return measured(inputs, store, tmp_path_factory.mktemp("found") / "quality")


def test_copies_are_found_and_only_copies(found):
    output, metrics = found
    share = output.read_table("per_class")["memorised_share"]
    assert share[COPIES] == 1
    assert share[FRESH:].max() < 0.1
    assert metrics["memorised_share_real"] < 0.02


def test_one_image_again_and_again_has_no_diversity_and_real_images_have_all_of_it(found):
    output, metrics = found
    diversity = output.read_table("per_class")["relative_diversity"]
    assert diversity[ONE_IMAGE] == pytest.approx(0, abs=1e-3)
    assert diversity[FRESH:].between(0.7, 1.4).all()
    assert metrics["least_diversity"] == diversity[ONE_IMAGE]


def test_the_judge_knows_real_images_and_not_noise(found):
    output, _ = found
    classes = output.read_table("per_class")
    assert classes["class_agreement"][NOISE] < 0.5
    assert classes["class_agreement"][FRESH:].mean() > 0.8
    assert classes["images"].tolist() == [30] * 10


def test_noise_is_farther_than_real_images_of_the_same_classes_by_every_measure(found):
    _, metrics = found
    for name in ("frechet_distance", "kernel_distance"):
        assert metrics[f"judge_{name}"] > metrics[f"judge_{name}_real"]
    for name in ("precision", "recall", "density", "coverage"):
        assert metrics[f"judge_{name}"] < metrics[f"judge_{name}_real"]
    assert metrics["class_agreement"] < metrics["class_agreement_real"]


def test_the_nearest_image_of_a_copy_is_its_original(found, inputs):
    output, _ = found
    table = output.read_table("nearest")
    assert (table["row"] == np.arange(300)).all()
    copies = table[table["class_id"] == COPIES]
    originals = np.flatnonzero(inputs["dataset"].read_table("labels")["label"] == COPIES)
    assert copies["sample_id"].tolist() == originals[originals % 2 == 0][:30].tolist()
    assert (copies["distance"] == 0).all()
    assert (output.read_table("nearest_real")["row"] >= NUM_TRAIN).all()


def test_every_number_names_what_it_was_measured_by(found):
    output, metrics = found
    scores = json.loads((output.root / "scores.json").read_text())
    assert set(scores["spaces"]) == {"judge features"}
    assert scores["spaces"]["judge features"]["real"]["frechet_distance"] == metrics["judge_frechet_distance_real"]
    assert scores["images"] == {
        "synthetic": 300, "compared": 300, "reference": 300, "denoiser_training": 719, "looked_up": 300
    }  # fmt: skip
    assert not [name for name in metrics if "fid" in name or "inception" in name]


def test_the_same_inputs_give_the_same_bytes_and_a_run_that_was_stopped_goes_on(found, inputs, store, tmp_path):
    """The checkpoints of the first run are still there: both trainings are finished by them."""
    again, metrics = measured(inputs, store, tmp_path / "again")
    assert metrics == found[1]
    for name in ("scores.json", "per_class.parquet", "nearest.parquet", "nearest_real.parquet"):
        assert (again.root / name).read_bytes() == (found[0].root / name).read_bytes()


def test_an_image_of_a_pool_is_measured_once_however_many_clients_have_it(inputs, store, tmp_path):
    folder = Folder(tmp_path / "synthesis")
    table = pq.read_table(inputs["synthesis"].root / "images.parquet").take(np.arange(300).repeat(3))
    owners = pa.array(np.tile(np.arange(3), 300), pa.int16())
    pq.write_table(table.set_column(0, "client_id", owners), folder.path("images.parquet"))
    dealt = inputs | {"synthesis": Artifact(folder.root, inputs["synthesis"].manifest)}

    once, _ = measured(inputs, store, tmp_path / "once", classification_rounds=0)
    pool, _ = measured(dealt, store, tmp_path / "pool", shared_pool=True, classification_rounds=0)
    for name in ("scores.json", "per_class.parquet", "nearest_real.parquet"):
        assert (pool.root / name).read_bytes() == (once.root / name).read_bytes()
    nearest = pool.read_table("nearest")
    assert nearest.assign(row=nearest["row"] / 3).equals(once.read_table("nearest").astype({"row": float}))

    own, _ = measured(dealt, store, tmp_path / "own", classification_rounds=0)  # the same number at another client
    assert own.read_table("per_class")["images"].tolist() == [90] * 10


def test_without_the_classification_score_its_numbers_are_none(inputs, store, tmp_path):
    output, metrics = measured(inputs, store, tmp_path / "without", classification_rounds=0)
    assert np.isnan(metrics["classification_accuracy"])
    assert json.loads((output.root / "scores.json").read_text())["whole"]["classification_accuracy"]["real"] is None
    assert output.read_table("per_class")["classification_accuracy"].isna().all()
