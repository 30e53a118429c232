"""A classifier that has seen all true labels in one place. It judges synthetic images, and decides nothing."""

from collections.abc import Mapping

import numpy as np
import torch

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Judge
from fedsyn.context import Context
from fedsyn.federated.classification import train_classifier
from fedsyn.federated.client import Client
from fedsyn.models.initialize import initialize
from fedsyn.stages.classifier import build, publish


def run(inputs: Mapping[str, Artifact], output: Folder, context: Context, *, judge: Judge) -> dict[str, float]:
    """Writes what the classifier stage writes. Trained on the data set's training images alone, so that one judge
    serves every partition."""
    info = inputs["dataset"].read_json("info")
    images = inputs["dataset"].read_tensors("images")["images"].to(context.device)
    labels = inputs["dataset"].read_table("labels")["label"].to_numpy(np.int64)
    known = torch.from_numpy(labels).to(context.device)
    train, test = torch.arange(len(images), device=context.device).tensor_split([info["num_train"]])

    model = build(judge, info).to(context.device)
    initialize(model, judge.seed, "judge")
    everyone = Client(0, (images, known), train)
    state = train_classifier(model, [everyone], images[test], known[test], judge, context, seed=judge.seed)
    return publish(output, model, state, judge, images[test], known[test], test)
