"""Folds are dealt evenly, and nobody predicts what it was trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.config import Classifier
from fedsyn.context import Context
from fedsyn.federated.classification import logits, train_classifier
from fedsyn.federated.client import group_by_client
from fedsyn.pseudo_labels.cross_fit import cross_fit, deal_folds, fold_of_each
from tests.federated.problems import small_problem

SETTINGS = Classifier(width=8, rounds=2, batch_size=8)


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(2, 6), st.integers(0, 99))
def test_no_two_folds_differ_by_more_than_one_sample_in_all_and_of_any_class(labels, folds, seed):
    fold = deal_folds(np.array(labels, int), folds, np.random.default_rng(seed))
    assert fold.shape == (len(labels),)
    sizes = np.zeros((folds, 4), int)
    np.add.at(sizes, (fold, np.array(labels, int)), 1)
    assert np.ptp(sizes, axis=0).max() <= 1
    assert np.ptp(sizes.sum(axis=1)) <= 1


def test_clients_with_one_sample_do_not_share_one_fold():
    fold = fold_of_each(np.arange(100), np.zeros(100, int), 5, seed=0)
    assert set(fold.tolist()) == set(range(5))


def test_a_clients_folds_do_not_depend_on_the_other_clients():
    owner, labels = np.array([0, 1, 0, 1, 0]), np.array([0, 1, 2, 0, 1])
    alone = fold_of_each(owner[owner == 0], labels[owner == 0], 3, seed=1)
    assert fold_of_each(owner, labels, 3, seed=1)[owner == 0].tolist() == alone.tolist()


def problem() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Images, labels and owner of 60 labelled samples."""
    _, clients = small_problem()
    owner = np.zeros(60, int)
    for client in clients:
        owner[client.indices.numpy()] = client.client_id
    return *clients[0].tensors, owner


def fitted(folder: Path, fold: np.ndarray) -> np.ndarray:
    images, labels, owner = problem()
    context = Context("pseudo_labels", torch.device("cpu"), Checkpoints(folder, Pace(1, None)))
    sizes = {"num_clients": 5, "num_classes": 3}
    build = lambda: small_problem()[0]  # noqa: E731
    return cross_fit(build, images, labels, owner, fold, SETTINGS, context, seed=0, **sizes)


def test_every_sample_is_predicted_by_a_training_on_the_other_folds(tmp_path):
    """The slow twin copies the other folds' samples out. Fold 1 is empty, and nothing is trained for it."""
    images, labels, owner = problem()
    fold = np.arange(60) % 2 * 2
    found = fitted(tmp_path / "fast", fold)
    for index in (0, 2):
        model, rows, own = small_problem()[0], np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        clients = group_by_client(owner[rows], np.arange(len(rows)), (images[rows], labels[rows]))
        context = Context("pseudo_labels", torch.device("cpu"), Checkpoints(tmp_path / str(index)))
        train_classifier(model, clients, images, labels, SETTINGS, context, seed=0)
        assert found[own] == pytest.approx(logits(model, images[own]).numpy(), abs=1e-5)
    assert Checkpoints(tmp_path / "fast").units() == 2 * SETTINGS.rounds


def test_gone_on_with_after_all_folds_are_kept_it_gives_the_same_bits(tmp_path):
    fold = np.arange(60) % 3
    assert np.array_equal(fitted(tmp_path, fold), fitted(tmp_path, fold))


def test_one_fold_leaves_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match=r"'cross_fit' needs labelled images in two folds, got 60 in one; raise"):
        fitted(tmp_path, np.zeros(60, int))
