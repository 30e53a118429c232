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
    images = inputs["dataset"].read_tensors("images")["images"].to(context.device)
    assignments = inputs["partition"].read_table("assignments")
    labels = torch.from_numpy(assignments["label"].fillna(-1).to_numpy(np.int64)).to(context.device)
    clients = clients_by_role(assignments, ["labeled"], (images, labels))

    model = build(classifier, inputs["dataset"].read_json("info")).to(context.device)
    initialize(model, seed, "classifier")
    test = torch.from_numpy(np.flatnonzero(assignments["role"] == "test")).to(context.device)
    num_clients = count_clients(inputs)
    state = train_classifier(
        model, clients, images[test], labels[test], classifier, context, seed=seed, num_clients=num_clients
    )
    return publish(output, model, state, classifier, images[test], labels[test], test)


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
