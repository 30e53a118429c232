"""Thresholds chosen from matrices made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.config import Selection
from fedsyn.pseudo_labels.calibration import Calibration, counted
from fedsyn.pseudo_labels.selection import choose_thresholds, fixed_thresholds, most_confident_share

GRID = np.array([0.0, 0.5, 0.9])
POINT = Selection(bound="point", target_precision=0.9, min_per_class=1)
# Rows are true classes, columns predicted ones; one matrix for each confidence of the grid.
# class 0: 6/10, 9/10, 5/5 -> the smallest confidence that reaches 0.9 is 0.5
# class 1: 18/20, 10/11, 2/2 -> 0.0 reaches it already
# class 2: never predicted for a calibration sample
MATRICES = np.array(
    [
        [[6, 2, 0], [4, 18, 0], [0, 0, 0]],
        [[9, 1, 0], [1, 10, 0], [0, 0, 0]],
        [[5, 0, 0], [0, 2, 0], [0, 0, 0]],
    ]
)
PREDICTED = np.array([[50, 60, 70], [40, 50, 60], [30, 40, 50]])


def test_the_smallest_confidence_whose_precision_reaches_the_target():
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, POINT)
    assert chosen.confidence[:2].tolist() == [0.5, 0.0]
    assert chosen.estimated_precision[:2].tolist() == [0.9, 0.9]
    assert chosen.calibration_samples[:2].tolist() == [10, 20]
    assert chosen.reached.tolist() == [True, True, False]


def test_a_higher_target_asks_for_more_confidence():
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, POINT.model_copy(update={"target_precision": 0.95}))
    assert chosen.confidence[:2].tolist() == [0.9, 0.9]
    assert chosen.reached[:2].all()


@pytest.mark.parametrize(
    ("min_per_class", "min_share", "expected"),
    [
        (1, 0.5, 0.9),  # 50 of 70 predictions are more than half of them
        (1, 0.8, 0.5),  # 50 of 70 are too few, 60 are enough
        (55, 0.1, 0.5),  # 50 samples are too few, 60 are enough
        (65, 0.9, 0.0),
    ],
)
def test_without_evidence_a_class_keeps_its_most_confident_predictions(min_per_class, min_share, expected):
    settings = POINT.model_copy(update={"min_per_class": min_per_class, "min_share": min_share})
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, settings)
    assert chosen.confidence[2] == expected
    assert np.isnan(chosen.estimated_precision[2])
    assert chosen.calibration_samples[2] == 0
    assert not chosen.reached[2]


def test_a_class_that_cannot_keep_enough_keeps_nothing():
    settings = POINT.model_copy(update={"min_per_class": 71})
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, settings)
    assert np.isnan(chosen.confidence[2])
    assert chosen.confidence[:2].tolist() == [0.5, 0.0]  # a class whose evidence suffices does not need the rule


def test_the_wilson_bound_asks_for_evidence_too():
    """Lower bounds at 90 %: class 0: 0.401, 0.718, 0.753; class 1: 0.782, 0.739, 0.549."""
    settings = Selection(bound="wilson", target_precision=0.75, min_per_class=1)
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, settings)
    assert chosen.confidence[:2].tolist() == [0.9, 0.0]
    assert chosen.lower_bound[:2] == pytest.approx([0.753, 0.782], abs=1e-3)
    assert chosen.estimated_precision[:2].tolist() == [1.0, 0.9]


def test_the_bound_asks_for_effective_samples_where_calibration_is_weighted():
    """Weights change no precision where all are alike, but a tenth of the samples proves less."""
    settings = Selection(bound="wilson", target_precision=0.75, min_per_class=1)
    tenth = Calibration(1000.0 * MATRICES, MATRICES.sum(axis=1) / 10)
    chosen = choose_thresholds(tenth, PREDICTED, GRID, settings)
    assert not chosen.reached.any()
    assert chosen.calibration_samples[:2].tolist() == [0.5, 0.2]
    point = choose_thresholds(tenth, PREDICTED, GRID, POINT)
    assert point.confidence[:2].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("bound", ["wilson", "point"])
def test_without_any_calibration_sample_a_class_keeps_its_most_confident_share(bound):
    nothing = counted(np.zeros((3, 3, 3), np.int64))
    settings = Selection(bound=bound, min_per_class=1, min_share=0.5)
    chosen = choose_thresholds(nothing, PREDICTED, GRID, settings)
    assert chosen.confidence.tolist() == [0.9, 0.9, 0.9]
    assert np.isnan(chosen.estimated_precision).all()
    assert chosen.lower_bound.tolist() == [0, 0, 0]
    assert not chosen.reached.any()


def test_the_precision_may_be_reached_exactly():
    chosen = choose_thresholds(counted(MATRICES), PREDICTED, GRID, POINT.model_copy(update={"target_precision": 1.0}))
    assert chosen.confidence[:2].tolist() == [0.9, 0.9]


@given(st.integers(0, 2**32 - 1))
def test_a_reached_threshold_is_the_smallest_one_by_a_naive_search(seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 6, (4, 3, 3))
    matrices = steps[::-1].cumsum(axis=0)[::-1]  # fewer samples pass a higher confidence
    predicted = np.full((4, 3), 100)
    grid = np.array([0.0, 0.3, 0.6, 0.9])
    chosen = choose_thresholds(counted(matrices), predicted, grid, POINT.model_copy(update={"target_precision": 0.6}))
    for c in range(3):
        good = [t for t, m in zip(grid, matrices, strict=True) if m[:, c].sum() and m[c, c] / m[:, c].sum() >= 0.6]
        assert chosen.reached[c] == bool(good)
        if good:
            assert chosen.confidence[c] == good[0]


def test_a_fixed_confidence_is_the_same_for_all_and_is_judged_at_the_grid_below_it():
    chosen = fixed_thresholds(counted(MATRICES), GRID, 0.7, POINT)
    assert chosen.confidence.tolist() == [0.7] * 3
    assert chosen.estimated_precision[:2].tolist() == [0.9, pytest.approx(10 / 11)]
    assert chosen.calibration_samples.tolist() == [10, 11, 0]
    assert chosen.reached.tolist() == [True, True, False]


def test_a_fixed_confidence_on_the_grid_is_judged_there():
    assert fixed_thresholds(counted(MATRICES), GRID, 0.9, POINT).calibration_samples.tolist() == [5, 2, 0]


def test_the_most_confident_share_of_each_class_is_kept():
    pseudo_label = np.array([0, 0, 0, 0, 1, 1])
    confidence = np.array([0.1, 0.9, 0.8, 0.2, 0.3, 0.4])
    kept = most_confident_share(pseudo_label, confidence, np.array([0.5, 1.0]))
    assert kept.tolist() == [False, True, True, False, True, True]


def test_ties_keep_the_order_of_the_samples_and_nan_keeps_nothing():
    pseudo_label, confidence = np.array([0, 0, 1]), np.array([0.5, 0.5, 0.9])
    assert most_confident_share(pseudo_label, confidence, np.array([0.5, np.nan])).tolist() == [
        True,
        False,
        False,
    ]


def test_nothing_predicted_is_nothing_kept():
    assert most_confident_share(np.array([], int), np.array([]), np.array([0.5, 0.5])).tolist() == []
