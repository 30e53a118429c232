"""The partition of a tiny data set: who holds what, in which role, and what is hidden."""

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from fedsyn.artifacts import Artifact, Checkpoints, Store
from fedsyn.config import Partition
from fedsyn.context import Context
from fedsyn.data.partition import PartitionError
from fedsyn.stages import partition as stage
from tests import handmade

NUM_CLASSES, PER_CLASS, NUM_TEST = 3, 40, 9
NUM_TRAIN = NUM_CLASSES * PER_CLASS
LABELS = np.tile(np.arange(NUM_CLASSES), PER_CLASS + NUM_TEST // NUM_CLASSES)
COMBINATIONS = list(itertools.product(["iid", "dirichlet"], repeat=2))
SETTINGS = Partition(num_clients=4, labeled_fraction=0.25, calibration_fraction=0.2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def partition(store: Store, settings: Partition = SETTINGS, seed: int = 0) -> Artifact:
    """The stage's files, published under the settings' own key."""
    dataset = handmade.dataset(store, LABELS, NUM_TRAIN, NUM_CLASSES)
    context = Context("partition", torch.device("cpu"), Checkpoints(store.root / "checkpoints"))
    key = hashlib.sha256(f"{settings!r} {seed}".encode()).hexdigest()[:24]
    metrics = {}

    def write(folder):
        metrics.update(stage.run({"dataset": dataset}, folder, context, seed=seed, partition=settings))
        return metrics

    return handmade.publish(store, write, "partition", key, metrics=metrics)


def assignments(store: Store, settings: Partition = SETTINGS, seed: int = 0) -> pd.DataFrame:
    return partition(store, settings, seed).read_table("assignments")


def mixture(table: pd.DataFrame, roles: list[str], num_clients: int) -> np.ndarray:
    """How many samples of each class each client holds in `roles`, (K, C)."""
    rows = table[table["role"].isin(roles)]
    counts = np.zeros((num_clients, NUM_CLASSES), dtype=int)
    np.add.at(counts, (rows["client_id"].to_numpy(), LABELS[rows["sample_id"]]), 1)
    return counts


@pytest.mark.parametrize(("labeled", "unlabeled"), COMBINATIONS)
def test_every_sample_has_one_holder_and_one_role(store, labeled, unlabeled):
    settings = SETTINGS.model_copy(update={"labeled": labeled, "unlabeled": unlabeled})
    artifact = partition(store, settings)
    table = artifact.read_table("assignments")

    assert table["sample_id"].tolist() == list(range(NUM_TRAIN + NUM_TEST))
    test = table["sample_id"] >= NUM_TRAIN
    assert (table.loc[test, "role"] == "test").all()
    assert (table.loc[test, "client_id"] == -1).all()
    assert table.loc[~test, "role"].isin(["labeled", "calibration", "unlabeled"]).all()
    assert table.loc[~test, "client_id"].between(0, 3).all()

    sizes = table["role"].value_counts().to_dict()
    assert sizes["labeled"] + sizes["calibration"] == 30  # a quarter of 120
    assert sizes["unlabeled"] == 90
    assert {role: artifact.manifest.metrics[role] for role in sizes} == sizes
    own = table[table["role"].isin(["labeled", "calibration"])].groupby("client_id")["role"]
    for _, roles in own:
        assert (roles == "calibration").sum() == round(0.2 * len(roles))


@pytest.mark.parametrize(("labeled", "unlabeled"), COMBINATIONS)
def test_iid_pools_are_even_and_dirichlet_pools_are_skewed(store, labeled, unlabeled):
    settings = SETTINGS.model_copy(update={"labeled": labeled, "unlabeled": unlabeled, "min_unlabeled": 0})
    table = assignments(store, settings)
    for kind, roles in ((labeled, ["labeled", "calibration"]), (unlabeled, ["unlabeled"])):
        sizes = mixture(table, roles, 4).sum(axis=1)
        even = sizes.max() - sizes.min() <= 1
        assert even == (kind == "iid")


def test_labels_of_the_unlabelled_pool_are_hidden_and_kept_apart(store):
    artifact = partition(store)
    table = artifact.read_table("assignments")
    unlabeled = table["role"] == "unlabeled"
    assert table.loc[unlabeled, "label"].isna().all()
    assert table.loc[~unlabeled, "label"].tolist() == LABELS[~unlabeled].tolist()

    hidden = artifact.read_table("hidden_labels")
    assert hidden["sample_id"].tolist() == np.flatnonzero(unlabeled).tolist()
    assert hidden["label"].tolist() == LABELS[unlabeled].tolist()


def test_each_class_keeps_its_share_of_labels(store):
    counts = mixture(assignments(store), ["labeled", "calibration"], 4).sum(axis=0)
    assert counts.tolist() == [10, 10, 10]


def test_how_the_unlabelled_pool_is_spread_does_not_touch_the_labelled_one(store):
    one = assignments(store, SETTINGS.model_copy(update={"unlabeled": "iid"}))
    other = assignments(store, SETTINGS.model_copy(update={"alpha_unlabeled": 5.0}))
    known = one["role"] != "unlabeled"
    pd.testing.assert_frame_equal(one[known], other[known])
    assert (one["client_id"] != other["client_id"]).any()


def test_shared_priors_give_a_client_the_same_mixture_twice(store):
    shared = SETTINGS.model_copy(
        update={"priors": "shared", "alpha_labeled": 0.5, "alpha_unlabeled": 0.5, "min_unlabeled": 0}
    )
    for settings, alike in ((shared, True), (shared.model_copy(update={"priors": "independent"}), False)):
        table = assignments(store, settings)
        labeled, unlabeled = mixture(table, ["labeled", "calibration"], 4), mixture(table, ["unlabeled"], 4)
        # both are the same shares, each rounded by less than one sample of 10 and of 30
        apart = np.abs(labeled / 10 - unlabeled / 30).max()
        assert (apart <= 1 / 10 + 1 / 30) == alike


def test_clients_without_any_label_are_legal(store):
    settings = SETTINGS.model_copy(update={"num_clients": 20, "alpha_labeled": 1e-6})
    artifact = partition(store, settings)
    table = artifact.read_table("assignments")
    labeled = mixture(table, ["labeled", "calibration"], 20)
    assert (labeled.sum(axis=1) > 0).sum() <= NUM_CLASSES  # each class is with one client
    assert (labeled.max(axis=0) == 10).all()
    assert artifact.read_json("summary")["num_clients"] == 20


def test_the_minimum_is_reached_and_what_moved_is_told(store):
    settings = SETTINGS.model_copy(update={"alpha_unlabeled": 1e-6, "min_unlabeled": 5, "min_labeled": 2})
    artifact = partition(store, settings)
    table = artifact.read_table("assignments")
    assert (mixture(table, ["unlabeled"], 4).sum(axis=1) >= 5).all()
    assert (mixture(table, ["labeled", "calibration"], 4).sum(axis=1) >= 2).all()

    moves = artifact.read_json("summary")["moves"]
    assert artifact.manifest.metrics["moved"] == len(moves["labeled"]) + len(moves["unlabeled"]) > 0
    last = {move["sample"]: move["target"] for pool in moves.values() for move in pool}
    assert table.set_index("sample_id").loc[list(last), "client_id"].tolist() == list(last.values())
    roles = table.set_index("sample_id")["role"]
    assert {roles[move["sample"]] for move in moves["unlabeled"]} == {"unlabeled"}
    assert "unlabeled" not in {roles[move["sample"]] for move in moves["labeled"]}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_partition(store, tmp_path):
    once = partition(store).manifest.digest
    again = partition(Store(tmp_path / "again")).manifest.digest
    assert once == again != partition(store, seed=1).manifest.digest


def test_all_labels_may_be_kept(store):
    table = assignments(store, Partition(num_clients=4, labeled_fraction=1.0, min_unlabeled=0))
    assert not (table["role"] == "unlabeled").any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clients": 121}, r"partition.num_clients must be <= 120.*handmade, got 121"),
        (
            {"min_unlabeled": 23},
            r"partition.min_unlabeled must be <= 22 for 4 clients and 90 samples, got 23",
        ),
        ({"min_labeled": 8}, r"partition.min_labeled must be <= 7 for 4 clients and 30 samples, got 8"),
        (
            {"labeled_fraction": 1.0},
            r"partition.min_unlabeled must be <= 0 for 4 clients and 0 samples, got 1",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused_with_its_field(store, changes, message):
    with pytest.raises(PartitionError, match=message):
        partition(store, SETTINGS.model_copy(update=changes))


def test_a_calibration_slice_that_takes_every_label_is_refused(store):
    settings = Partition(num_clients=4, labeled_fraction=0.01, calibration_fraction=0.9, alpha_labeled=1e-6)
    with pytest.raises(PartitionError, match=r"partition.labeled_fraction 0.01 leaves no labelled image"):
        partition(store, settings)
