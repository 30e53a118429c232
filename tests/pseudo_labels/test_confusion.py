"""Confusion matrices against a triple loop, and precision by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.pseudo_labels.confusion import (
    confusion_matrices,
    counts_by_threshold,
    precision,
    wilson_lower_bound,
)

NUM_CLASSES = 3
GRIDS = st.lists(st.floats(0, 1), min_size=1, max_size=6, unique=True).map(sorted).map(np.array)


@st.composite
def predictions(draw):
    """True labels, predictions and confidences, some of them exactly on the grid."""
    grid = draw(GRIDS)
    confidence = st.floats(0, 1) | st.sampled_from(grid.tolist())
    rows = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), confidence), max_size=40))
    true, predicted, confidences = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(true, dtype=int), np.array(predicted, dtype=int), np.array(confidences, dtype=float), grid


@given(predictions())
def test_confusion_matrices_agree_with_a_triple_loop(case):
    true, predicted, confidence, grid = case
    matrices = confusion_matrices(true, predicted, confidence, grid, NUM_CLASSES)
    assert matrices.shape == (len(grid), NUM_CLASSES, NUM_CLASSES)
    for row, threshold in enumerate(grid):
        for i in range(NUM_CLASSES):
            for j in range(NUM_CLASSES):
                expected = sum(
                    1
                    for t, p, q in zip(true, predicted, confidence, strict=True)
                    if t == i and p == j and q >= threshold
                )
                assert matrices[row, i, j] == expected


@given(predictions())
def test_counts_by_threshold_agree_with_a_loop(case):
    _, predicted, confidence, grid = case
    counts = counts_by_threshold(predicted, confidence, grid, NUM_CLASSES)
    expected = [[int(((predicted == c) & (confidence >= t)).sum()) for c in range(NUM_CLASSES)] for t in grid]
    assert counts.tolist() == expected


@given(predictions(), st.integers(0, 40))
def test_matrices_of_two_clients_add_up_to_those_of_both(case, split):
    true, predicted, confidence, grid = case
    parts = [(true[rows], predicted[rows], confidence[rows]) for rows in (slice(split), slice(split, None))]
    added = sum(confusion_matrices(*part, grid, NUM_CLASSES) for part in parts)
    assert (added == confusion_matrices(true, predicted, confidence, grid, NUM_CLASSES)).all()


def test_rows_are_true_classes_and_columns_predicted_ones():
    matrices = confusion_matrices(np.array([0]), np.array([2]), np.array([0.7]), np.array([0.0, 0.7, 0.8]), 3)
    assert matrices[:, 0, 2].tolist() == [1, 1, 0]
    assert matrices.sum() == 2


def test_a_confidence_of_half_precision_is_judged_as_what_it_is():
    """The number that float32 calls 0.95 lies below 0.95: selection compares the same two numbers."""
    confidence = np.array([0.95, 0.5], dtype=np.float32)
    matrices = confusion_matrices(np.zeros(2, int), np.zeros(2, int), confidence, np.array([0.5, 0.95]), 1)
    assert matrices.ravel().tolist() == [int((confidence >= t).sum()) for t in (np.float64(0.5), np.float64(0.95))]


BY_HAND = np.array([[8, 1, 0], [2, 9, 0], [0, 0, 0]])


def test_precision_by_hand():
    estimate, total = precision(BY_HAND)
    assert estimate[:2].tolist() == [0.8, 0.9]
    assert math.isnan(estimate[2])
    assert total.tolist() == [10, 10, 0]


def test_precision_of_a_stack_is_that_of_each_matrix():
    estimate, total = precision(np.stack([BY_HAND, BY_HAND.T]))
    assert estimate[1, :2] == pytest.approx([8 / 9, 9 / 11])
    assert total.tolist() == [[10, 10, 0], [9, 11, 0]]


def test_the_wilson_bound_by_hand():
    """For 8 of 10, with z = 1.28155: (0.8 + z^2/20 - z sqrt(0.016 + z^2/400)) / (1 + z^2/10) = 0.60160."""
    bound = wilson_lower_bound(np.array([0.8, 0.9, np.nan]), np.array([10, 10, 0]), 0.9)
    assert bound == pytest.approx([0.60160, 0.71756, 0.0], abs=1e-5)


@given(
    st.integers(1, 10_000),
    st.floats(0, 1),
    st.sampled_from([(0.9, 1.2815516), (0.95, 1.6448536), (0.975, 1.959964)]),
)
def test_the_wilson_bound_is_the_proportion_that_lies_z_standard_errors_below(total, share, level_and_z):
    level, z = level_and_z
    share = round(share * total) / total
    bound = wilson_lower_bound(np.array([share]), np.array([total]), level)[0]
    assert -1e-9 <= bound <= share + 1e-9
    assert share - bound == pytest.approx(z * math.sqrt(max(0.0, bound * (1 - bound)) / total), abs=1e-6)


def test_more_samples_of_the_same_precision_are_believed_more():
    bounds = wilson_lower_bound(np.full(4, 0.9), np.array([10, 100, 1000, 100_000]), 0.9)
    assert (np.diff(bounds) > 0).all()
    assert bounds[-1] == pytest.approx(0.9, abs=0.002)
