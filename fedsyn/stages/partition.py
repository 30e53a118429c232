"""Step 0: labels kept and hidden, pools spread over the clients, a calibration slice held out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Partition
from fedsyn.context import Context
from fedsyn.data.partition import (
    PartitionError,
    by_priors,
    dirichlet_priors,
    hold_out,
    iid,
    keep_labels,
    reach_minimum,
)
from fedsyn.randomness import generator


def run(
    inputs: Mapping[str, Artifact], output: Folder, context: Context, *, seed: int, partition: Partition
) -> dict[str, float]:
    """Writes assignments.parquet (who holds what, in which role), hidden_labels.parquet (for metrics only) and
    summary.json (number of clients; samples moved to reach the minimum).

    Raises:
        PartitionError: the data set is too small for what was asked.
    """
    info = inputs["dataset"].read_json("info")
    labels = inputs["dataset"].read_table("labels")["label"].to_numpy()
    num_train, num_clients, num_classes = info["num_train"], partition.num_clients, len(info["class_names"])
    if num_clients > num_train:
        raise PartitionError(
            f"partition.num_clients must be <= {num_train}, the training images of {info['name']}, got {num_clients}"
        )
    train = labels[:num_train]
    kept = keep_labels(train, partition.labeled_fraction, generator(seed, "partition", "keep labels"))
    priors_of = _priors(seed, partition, num_classes)

    clients = np.full(len(labels), -1)
    moves = {}
    for pool, members, minimum in (
        ("labeled", np.flatnonzero(kept), partition.min_labeled),
        ("unlabeled", np.flatnonzero(~kept), partition.min_unlabeled),
    ):
        draw = generator(seed, "partition", f"spread {pool}")
        if pool in priors_of:
            spread = by_priors(train[members], priors_of[pool], draw)
        else:
            spread = iid(len(members), num_clients, draw)
        field, draw = f"partition.min_{pool}", generator(seed, "partition", f"move {pool}")
        spread, moved = reach_minimum(spread, num_clients, minimum, field, draw)
        clients[members] = spread
        moves[pool] = [move | {"sample": int(members[move["sample"]])} for move in moved]

    roles = np.full(len(labels), "unlabeled", dtype=object)
    roles[num_train:] = "test"
    for client_id in range(num_clients):
        own = np.flatnonzero(kept & (clients[:num_train] == client_id))
        draw = generator(seed, "partition", "calibration slice", client_id=client_id)
        held = hold_out(train[own], partition.calibration_fraction, draw)
        roles[own] = np.where(held, "calibration", "labeled")

    hidden = roles == "unlabeled"
    assignments = pd.DataFrame(
        {
            "sample_id": np.arange(len(labels)),
            "client_id": clients,
            "role": roles,
            "label": pd.array(labels, dtype="Int16"),
        }
    )
    assignments.loc[hidden, "label"] = pd.NA
    output.write_table("assignments", assignments, schemas.ASSIGNMENTS)
    hidden_labels = pd.DataFrame({"sample_id": np.flatnonzero(hidden), "label": labels[hidden]})
    output.write_table("hidden_labels", hidden_labels, schemas.LABELS)
    output.write_json("summary", {"num_clients": num_clients, "moves": moves})
    counts = {role: int((roles == role).sum()) for role in ("labeled", "calibration", "unlabeled", "test")}
    if counts["labeled"] == 0:
        raise PartitionError(
            f"partition.labeled_fraction {partition.labeled_fraction} leaves no labelled image to train on; raise it"
        )
    return {**counts, "moved": sum(len(pool) for pool in moves.values())}


def _priors(seed: int, partition: Partition, num_classes: int) -> dict[str, np.ndarray]:
    """The (C, K) priors of each pool that is spread by them."""
    alphas = {"labeled": partition.alpha_labeled, "unlabeled": partition.alpha_unlabeled}
    priors = {}
    for pool in (pool for pool in alphas if getattr(partition, pool) == "dirichlet"):
        purpose = "shared priors" if partition.priors == "shared" else f"{pool} priors"
        draw = generator(seed, "partition", purpose)
        priors[pool] = dirichlet_priors(num_classes, partition.num_clients, alphas[pool], draw)
    return priors
