"""Step 5: the classifier again, by FedAvg on D_k^l + D_k^s."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Classifier, Retrain
from fedsyn.context import Context
from fedsyn.federated.classification import train_classifier
from fedsyn.federated.client import group_by_client
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import build, count_clients, load_classifier, publish
from fedsyn.stages.denoiser import believed_labels
from fedsyn.stages.synthesis import load_images


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    classifier: Classifier,
    retrain: Retrain,
) -> dict[str, float]:
    """Writes what the classifier stage writes."""
    info = inputs["dataset"].read_json("info")
    images = inputs["dataset"].read_tensors("images")["images"]
    assignments = inputs["partition"].read_table("assignments")
    believed = believed_labels(inputs) if retrain.include_pseudo_labels else _labeled(assignments)
    synthetic, made = load_images(inputs["synthesis"])

    # one pool of the real images that are trained on, then the synthetic ones
    pool = torch.cat([images[torch.tensor(believed["sample_id"].to_numpy())], synthetic]).to(context.device)
    label = np.concatenate([believed["label"], made["class_id"]]).astype(np.int64)
    owner = np.concatenate([believed["client_id"], made["client_id"]])
    tensors = (pool, torch.from_numpy(label).to(context.device))
    clients = group_by_client(owner, np.arange(len(owner)), tensors)

    if retrain.warm_start:
        model = load_classifier(inputs["classifier"], info).to(context.device)
    else:
        model = build(classifier, info).to(context.device)
        initialize(model, seed, "classifier")  # the draws of step 1: both trainings start from the same weights
    test = torch.from_numpy(np.flatnonzero(assignments["role"] == "test"))
    labels = torch.from_numpy(assignments["label"].fillna(-1).to_numpy(np.int64))[test].to(context.device)
    test_images = images[test].to(context.device)
    num_clients = count_clients(inputs)
    state = train_classifier(
        model, clients, test_images, labels, classifier, context, seed=seed, num_clients=num_clients
    )
    return publish(output, model, state, classifier, test_images, labels, test)


def _labeled(assignments: pd.DataFrame) -> pd.DataFrame:
    rows = assignments.loc[assignments["role"] == "labeled", ["sample_id", "client_id", "label"]]
    return rows.astype(np.int64).reset_index(drop=True)
