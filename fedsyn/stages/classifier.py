"""Step 1: the classifier, by FedAvg on the labelled samples."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.federated import privacy
from fedsyn.federated.classification import probabilities, train_classifier
from fedsyn.federated.client import Client, group_by_client
from fedsyn.federated.state import TrainingState
from fedsyn.models.classifier import build_classifier
from fedsyn.models.initialize import initialize

ARCHITECTURE = ("architecture", "width", "normalization", "batch_statistics")
"""The fields that say what network the weights belong to."""


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, classifier: Classifier
) -> dict[str, float]:
    """Writes model.safetensors, model.json, history.parquet and test_predictions.parquet."""
    return fit(inputs, output, context, labeled_samples(inputs["partition"]), classifier, seed=seed)


def fit(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    samples: pd.DataFrame,
    settings: Classifier,
    *,
    seed: int,
    synthetic: tuple[Tensor, pd.DataFrame] | None = None,
    model: nn.Module | None = None,
    consistency_weight: float = 0.0,
) -> dict[str, float]:
    """Train a classifier on `samples` (sample_id, client_id, label), measure it on the test set, and publish it.

    `synthetic`: more images (n, H, W, C) uint8, and client_id and class_id of each. `model`: weights to start from;
    without it the draws of step 1, so that all trainings of a run start from the same ones. `consistency_weight`: of
    `CrossEntropy`.
    """
    info = inputs["dataset"].read_json("info")
    images = inputs["dataset"].read_tensors("images")["images"]
    assignments = inputs["partition"].read_table("assignments")
    pool = images[torch.tensor(samples["sample_id"].to_numpy())]
    rows = samples[["client_id", "label"]]
    if synthetic is not None:
        pool = torch.cat([pool, synthetic[0]])
        rows = pd.concat([rows, synthetic[1].rename(columns={"class_id": "label"})[["client_id", "label"]]])
    owner, label = rows["client_id"].to_numpy(np.int64), torch.tensor(rows["label"].to_numpy(np.int64))
    tensors = (pool.to(context.device), label.to(context.device))
    clients = group_by_client(owner, np.arange(len(owner)), tensors)

    if model is None:
        model = build(settings, info)
        initialize(model, seed, "classifier")
    model = model.to(context.device)
    test = torch.from_numpy(np.flatnonzero(assignments["role"] == "test"))
    true = torch.from_numpy(assignments["label"].fillna(-1).to_numpy(np.int64))[test].to(context.device)
    test_images = images[test].to(context.device)
    state = train_classifier(
        model,
        clients,
        test_images,
        true,
        settings,
        context,
        seed=seed,
        num_clients=count_clients(inputs),
        consistency_weight=consistency_weight,
    )
    return publish(output, model, state, settings, test_images, true, test)


def labeled_samples(partition: Artifact) -> pd.DataFrame:
    """D_k^l: sample_id, client_id and label of the labelled samples."""
    assignments = partition.read_table("assignments")
    rows = assignments.loc[assignments["role"] == "labeled", ["sample_id", "client_id", "label"]]
    return rows.astype(np.int64).reset_index(drop=True)


def believed_samples(inputs: Mapping[str, Artifact]) -> pd.DataFrame:
    """D_k^l + D_k^p: sample_id, client_id and label of the labelled and of the selected samples."""
    selection = inputs["selection"].read_table("labels")
    selected = selection[selection["selected"]].rename(columns={"pseudo_label": "label"})
    both = pd.concat([labeled_samples(inputs["partition"]), selected[["sample_id", "client_id", "label"]]])
    return both.astype(np.int64).sort_values("sample_id", ignore_index=True)


def count_clients(inputs: Mapping[str, Artifact]) -> int:
    """K, clients without a sample included."""
    return int(inputs["partition"].read_json("summary")["num_clients"])


def clients_by_role(assignments: pd.DataFrame, roles: list[str], tensors: tuple[Tensor, ...]) -> list[Client]:
    """Every client's samples in `roles`, as views into tensors whose rows are sample ids."""
    rows = assignments[assignments["role"].isin(roles)]
    return group_by_client(rows["client_id"].to_numpy(), rows["sample_id"].to_numpy(), tensors)


def build(settings: Classifier, info: dict) -> nn.Module:
    """The untrained classifier that fits the data set described by `info`."""
    return build_classifier(settings, info["channels"], info["height"], info["width"], len(info["class_names"]))


def publish(
    output: Folder,
    model: nn.Module,
    state: TrainingState,
    settings: Classifier,
    test_images: Tensor,
    test_labels: Tensor,
    test_ids: Tensor,
) -> dict[str, float]:
    """Write a trained classifier, its course and its predictions on the test set. Returns its metrics."""
    output.write_tensors("model", {name: weight.cpu() for name, weight in model.state_dict().items()})
    output.write_json("model", {name: getattr(settings, name) for name in ARCHITECTURE})
    output.write_table("history", history_table(state, schemas.HISTORY), schemas.HISTORY)
    predictions = probabilities(model, test_images).argmax(1)
    table = pd.DataFrame({"sample_id": test_ids.cpu(), "prediction": predictions.cpu()})
    output.write_table("test_predictions", table, schemas.PREDICTIONS)
    return {
        "test_accuracy": float((predictions == test_labels).float().mean()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **privacy.spent(settings),
    }


def history_table(state: TrainingState, schema: pa.Schema) -> pd.DataFrame:
    """The course of a training, one row a round."""
    return pd.DataFrame(state.history).reindex(columns=schema.names).astype({"round": int, "clients": int})


def load_classifier(artifact: Artifact, info: dict) -> nn.Module:
    """The trained classifier of an artifact that `publish` wrote."""
    model = build(Classifier(**artifact.read_json("model")), info)
    model.load_state_dict(artifact.read_tensors("model"))
    return model
