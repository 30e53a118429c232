"""A run's artifacts, made by hand: small, and with every oddity that a real run may have."""

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Attempt, Folder, Manifest
from fedsyn.graph import REPORT

Inputs = dict[str, Artifact]


@pytest.fixture(scope="module")
def make_inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Inputs]:
    """Artifacts for the report, of `num_clients` clients and the classes that are named.

    Class c has 6 training images (2 labeled, 1 calibration, 3 unlabeled), all at client c % K,
    and four test images. Labels only: three of four right, the fourth taken for the next class. Retrained:
    all right but two of class 0. The last class keeps no pseudo-labels and gets no synthetic image.
    """

    def make(class_names: Sequence[str] = ("cat", "dog", "owl"), num_clients: int = 4, channels: int = 1) -> Inputs:
        root = tmp_path_factory.mktemp("run")
        roots = {name: Folder(root / name) for name in REPORT.inputs}
        num_classes, rng = len(class_names), np.random.default_rng(0)
        train, test = np.repeat(np.arange(num_classes), 6), np.repeat(np.arange(num_classes), 4)
        labels = np.concatenate([train, test])
        roles = ["labeled", "labeled", "calibration", "unlabeled", "unlabeled", "unlabeled"] * num_classes
        images = rng.integers(0, 256, (len(labels), 8, 8, channels), dtype=np.uint8)
        _write_data(roots, class_names, num_clients, labels, np.array(roles + ["test"] * len(test)), images)
        _write_trainings(roots, test, np.arange(len(train), len(labels)), num_classes)
        _write_selection(roots, num_classes)
        _write_synthesis(roots["synthesis"], num_clients, num_classes, images)
        pictures = torch.from_numpy(images[:20])
        roots["autoencoder"].write_tensors("reconstructions", {"original": pictures, "reconstruction": 255 - pictures})
        metrics = {"synthesis": {"classifier_agreement": 0.25}, "autoencoder": {"test_psnr_db": 12.0}}
        return {name: Artifact(folder.root, _manifest(name, metrics.get(name, {}))) for name, folder in roots.items()}

    return make


def _write_data(
    roots: dict[str, Folder],
    names: Sequence[str],
    num_clients: int,
    labels: np.ndarray,
    roles: np.ndarray,
    images: np.ndarray,
) -> None:
    info = {
        "name": "handmade",
        "class_names": list(names),
        "height": 8,
        "width": 8,
        "channels": images.shape[-1],
    }
    roots["dataset"].write_json("info", info)
    roots["dataset"].write_tensors("images", {"images": torch.from_numpy(images)})
    hidden = roles == "unlabeled"
    assignments = pd.DataFrame(
        {
            "sample_id": np.arange(len(labels)),
            "client_id": np.where(roles == "test", -1, labels % num_clients),
            "role": roles,
            "label": pd.array(labels, dtype="Int16"),
        }
    )
    assignments.loc[hidden, "label"] = pd.NA
    roots["partition"].write_table("assignments", assignments, schemas.ASSIGNMENTS)
    secret = pd.DataFrame({"sample_id": np.flatnonzero(hidden), "label": labels[hidden]})
    roots["partition"].write_table("hidden_labels", secret, schemas.LABELS)
    summary = {"num_clients": num_clients, "moves": {"labeled": [], "unlabeled": []}}
    roots["partition"].write_json("summary", summary)
    known = pd.DataFrame({"sample_id": np.flatnonzero(roles == "calibration")})
    known = known.assign(client_id=0, pseudo_label=0, confidence=0.5, label=0)
    roots["pseudo_labels"].write_table("calibration", known, schemas.CALIBRATION)
    predicted = pd.DataFrame({"sample_id": np.flatnonzero(hidden)})
    predicted = predicted.assign(client_id=0, pseudo_label=labels[hidden], confidence=0.8)
    predicted.loc[::3, "pseudo_label"] = 0  # the first of each class's three
    roots["pseudo_labels"].write_table("labels", predicted, schemas.PSEUDO_LABELS)
    each = torch.eye(len(names))
    counts = {
        "grid": torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64),
        "confusion": torch.stack([each, each, 0 * each]),
    }
    roots["pseudo_labels"].write_tensors("counts", counts)


def _write_trainings(roots: dict[str, Folder], test: np.ndarray, sample_id: np.ndarray, num_classes: int) -> None:
    before, after = test.copy(), test.copy()
    before[3::4] = (before[3::4] + 1) % num_classes
    after[:2] = 1
    for stage, predictions in (("classifier", before), ("retrain", after)):
        table = pd.DataFrame({"sample_id": sample_id, "prediction": predictions})
        roots[stage].write_table("test_predictions", table, schemas.PREDICTIONS)
        history = pd.DataFrame({"round": [1, 2, 3], "clients": 3, "train_loss": [2.0, 1.0, 0.5]})
        roots[stage].write_table("history", history.assign(test_accuracy=[0.2, None, 0.7]), schemas.HISTORY)
    for stage in ("autoencoder", "denoiser"):
        history = pd.DataFrame({"round": [1, 2, 3], "clients": [3, 0, 3], "train_loss": [1.0, None, 0.1]})
        roots[stage].write_table("history", history, schemas.LOSS_HISTORY)


def _write_selection(roots: dict[str, Folder], num_classes: int) -> None:
    """Each class: 4 predictions, 3 of them right; 2 kept, both right. The last class keeps none."""
    nothing = np.arange(num_classes) == num_classes - 1
    table = pd.DataFrame({"class_id": np.arange(num_classes)}).assign(
        threshold=np.where(nothing, np.nan, 0.9),
        reached=~nothing,
        calibration_samples=1,
        estimated_precision=np.where(nothing, np.nan, 1.0),
        lower_bound=np.where(nothing, np.nan, 0.4),
        predicted=4,
        selected=np.where(nothing, 0, 2),
        true_precision_before=0.75,
        true_precision=np.where(nothing, np.nan, 1.0),
        coverage=np.where(nothing, 0.0, 0.5),
        recall_before=1.0,
        recall=np.where(nothing, 0.0, 2 / 3),
    )
    roots["selection"].write_table("precision", table, schemas.PRECISION)


def _write_synthesis(folder: Folder, num_clients: int, num_classes: int, images: np.ndarray) -> None:
    """Each client gets two images of every class but the last; one of client 0's is dropped by the filter."""
    client_id, class_id = (part.ravel() for part in np.indices((num_clients, num_classes)))
    wanted = np.where(class_id == num_classes - 1, 0, 2)
    kept = wanted.copy()
    kept[0] -= 1
    have = 2 * (class_id % num_clients == client_id)
    columns = {"client_id": client_id, "class_id": class_id, "have": have, "target": have + wanted}
    plan = pd.DataFrame({**columns, "to_generate": wanted, "kept": kept})
    folder.write_table("plan", plan, schemas.PLAN)
    rows = plan.loc[plan.index.repeat(plan["kept"])]
    pictures = [{"bytes": _png(images[row % len(images)]), "path": f"{row}.png"} for row in range(len(rows))]
    table = {"client_id": rows["client_id"], "class_id": rows["class_id"], "index": np.zeros(len(rows))}
    arrays = {name: pa.array(np.asarray(values)) for name, values in table.items()}
    made = pa.table({**arrays, "seed": np.zeros(len(rows), np.int64), "image": pictures})
    pq.write_table(made.cast(schemas.SYNTHETIC_IMAGES), folder.path("images.parquet"))


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def _manifest(stage: str, metrics: dict[str, float]) -> Manifest:
    now = datetime.now(UTC)
    return Manifest(
        stage=stage,
        version=1,
        key="0123456789abcdef01234567",
        config={},
        seed=0,
        inputs={},
        fingerprint=None,
        attempts=(Attempt(started=now, device="cpu", threads=1, engine="sequential", libraries={}),),
        seconds=0.0,
        finished=now,
        metrics=metrics,
        files=(),
    )
