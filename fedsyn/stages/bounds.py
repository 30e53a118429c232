"""What FedAvg on the labels can be measured by: the same labels in one place, and the true labels of all images."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Baselines, Classifier
from fedsyn.context import Context
from fedsyn.metrics.hidden import hidden_labels
from fedsyn.stages.classifier import fit, labeled_samples


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    classifier: Classifier,
    baselines: Baselines,
) -> dict[str, float]:
    """Writes, in a folder for each of `central` and `all_labels` that was asked for, what the classifier stage writes.

    Both start from the weights of step 1 and take as many local steps: `central` is a federation of one client that
    holds all labelled samples; `all_labels` knows the hidden labels, which is why it is a bound and no method.
    """
    labeled = labeled_samples(inputs["partition"])
    wanted = {
        "central": lambda: (labeled.assign(client_id=0), central_schedule(classifier, labeled)),
        "all_labels": lambda: (pd.concat([labeled, _unlabeled(inputs["partition"])]), classifier),
    }
    metrics, first = {}, 0
    for name in (name for name in wanted if getattr(baselines, name)):
        samples, settings = wanted[name]()
        kept = context.part(first, total=classifier.rounds * sum(getattr(baselines, each) for each in wanted))
        measured = fit(inputs, output.folder(name), kept, samples, settings, seed=seed)
        metrics[f"{name}_test_accuracy"] = measured["test_accuracy"]
        first += classifier.rounds
    return metrics


def central_schedule(settings: Classifier, labeled: pd.DataFrame) -> Classifier:
    """The schedule for one client that holds all samples: as many local steps a round as a client takes on average.

    What belongs to a crowd (client sampling, dropout, stragglers, privacy) does not concern it.
    """
    sizes = labeled["client_id"].value_counts().to_numpy()
    steps = settings.local_steps or settings.local_epochs * int(np.ceil(sizes / settings.batch_size).mean().round())
    alone = {"client_fraction": 1.0, "client_sampling": "uniform", "dropout_rate": 0.0, "straggler_rate": 0.0}
    return settings.model_copy(update={**alone, "local_steps": steps, "privacy": None})


def _unlabeled(partition: Artifact) -> pd.DataFrame:
    """The unlabelled samples with the labels that nobody has."""
    assignments = partition.read_table("assignments")
    rows = assignments.loc[assignments["role"] == "unlabeled", ["sample_id", "client_id"]]
    return rows.assign(label=hidden_labels(partition, rows["sample_id"]))
