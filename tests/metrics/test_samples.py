"""Which images are compared, and what their predictions score."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.metrics.predictions import prediction_score
from fedsyn.metrics.samples import common_counts, draw_at_most, draw_by_class

COUNTS = st.lists(st.integers(0, 50), min_size=3, max_size=3).map(np.array)


def test_both_sides_give_what_the_smaller_one_has():
    assert common_counts(np.array([5, 0, 9]), np.array([3, 4, 9]), 100).tolist() == [3, 0, 9]


def test_too_many_are_cut_in_proportion():
    assert common_counts(np.array([80, 40, 40]), np.array([80, 40, 90]), 40).tolist() == [20, 10, 10]


@given(one=COUNTS, other=COUNTS, most=st.integers(1, 100))
def test_never_more_than_either_side_has_nor_than_may_be(one, other, most):
    found = common_counts(one, other, most)
    assert (found <= np.minimum(one, other)).all()
    assert found.sum() == min(most, np.minimum(one, other).sum())


def test_drawn_rows_are_of_their_class_without_repetition_and_the_same_again():
    labels = np.array([0, 1, 1, 0, 1, 2, 1])
    rows = draw_by_class(labels, np.array([1, 3, 0]), seed=0, purpose="test")
    assert np.bincount(labels[rows], minlength=3).tolist() == [1, 3, 0]
    assert rows.tolist() == sorted(set(rows))
    assert rows.tolist() == draw_by_class(labels, np.array([1, 3, 0]), seed=0, purpose="test").tolist()


def test_at_most_so_many_rows():
    assert draw_at_most(4, 9, 0, "test").tolist() == [0, 1, 2, 3]
    assert len(set(draw_at_most(100, 30, 0, "test").tolist())) == 30


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        ([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], 4),  # sure, and of every class
        ([[1.0, 0, 0, 0], [1, 0, 0, 0]], 1),  # sure, always of the same
        ([[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]], 1),  # never sure
        ([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], 2),
    ],
)
def test_predictions_score_by_the_number_of_classes_that_they_tell_apart(probabilities, score):
    assert prediction_score(torch.tensor(probabilities)) == pytest.approx(score)
