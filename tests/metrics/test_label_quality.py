"""How good pseudo-labels are, and how far their estimate is from that; by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from fedsyn.metrics.curves import coverage, reliability
from fedsyn.metrics.label_quality import estimate_quality, label_quality
from fedsyn.pseudo_labels.confusion import confusion_matrices


def test_quality_by_hand():
    pseudo_label, true = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    selected = np.array([True, False, True, True, False])
    quality = label_quality(pseudo_label, true, selected, 3)
    assert quality["predicted"].tolist() == [3, 2, 0]
    assert quality["selected"].tolist() == [2, 1, 0]
    assert quality["true_precision_before"].tolist()[:2] == [2 / 3, 1 / 2]
    assert quality["true_precision"].tolist()[:2] == [1 / 2, 1]
    assert quality["recall"].tolist()[:2] == [1 / 3, 1 / 2]
    assert quality.iloc[2][["true_precision", "coverage", "recall"]].isna().all()


def test_estimates_are_judged_over_the_classes_that_have_both_numbers():
    """Errors 0.1 and 0.2; the first bound holds, the second does not; the others keep nothing or have no estimate."""
    nan = math.nan
    table = pd.DataFrame(
        {
            "estimated_precision": [0.9, 0.7, 0.8, nan],
            "lower_bound": [0.7, 0.6, 0.1, 0.0],
            "true_precision": [0.8, 0.5, nan, 0.9],
        }
    )
    assert estimate_quality(table) == {"precision_error": pytest.approx(0.15), "bounds_held": 0.5}


def test_where_nothing_was_kept_there_is_nothing_to_judge():
    table = pd.DataFrame({"estimated_precision": [0.9], "lower_bound": [0.7], "true_precision": [math.nan]})
    assert all(math.isnan(value) for value in estimate_quality(table).values())


GRID = np.array([0.0, 0.5, 0.9])
CONFIDENCE = np.array([0.4, 0.6, 0.7, 0.95, 0.9, 1.0])
PREDICTED, TRUE = np.array([0, 0, 1, 1, 1, 0]), np.array([1, 0, 0, 1, 1, 0])


def test_reliability_counts_each_prediction_between_two_confidences():
    accuracy, share = reliability(confusion_matrices(TRUE, PREDICTED, CONFIDENCE, GRID, 2))
    assert accuracy.tolist() == [0, 1 / 2, 1]
    assert share.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_weights_do_not_change_it():
    matrices = confusion_matrices(TRUE, PREDICTED, CONFIDENCE, GRID, 2)
    assert reliability(0.1 * matrices)[0] == pytest.approx(reliability(matrices)[0])


def test_between_confidences_where_nothing_lies_there_is_no_accuracy():
    nothing = confusion_matrices(TRUE, PREDICTED, np.full(6, 0.6), GRID, 2)
    accuracy, share = reliability(nothing)
    assert np.isnan(accuracy[[0, 2]]).all()
    assert share.tolist() == [0, 1, 0]
    assert reliability(np.zeros((3, 2, 2)))[1].tolist() == [0, 0, 0]


def test_coverage_falls_with_confidence_and_is_unknown_where_nothing_was_predicted():
    found = coverage(np.array([[4, 0], [2, 0], [1, 0]]))
    assert found[:, 0].tolist() == [1, 0.5, 0.25]
    assert np.isnan(found[:, 1]).all()
