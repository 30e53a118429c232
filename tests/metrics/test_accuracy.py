import numpy as np
import pytest

from fedsyn.metrics.accuracy import accuracy, class_accuracy, client_accuracy, confusion_matrix, paired_gain

TRUE = np.array([0, 0, 0, 0, 1, 1])
PREDICTED = np.array([0, 0, 0, 1, 1, 0])


def test_confusion_has_true_classes_as_rows() -> None:
    assert confusion_matrix(TRUE, PREDICTED, 3).tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_accuracy_is_the_share_on_the_diagonal() -> None:
    assert accuracy(confusion_matrix(TRUE, PREDICTED, 3)) == pytest.approx(4 / 6)
    assert np.isnan(accuracy(np.zeros((2, 2), dtype=np.int64)))


def test_class_accuracy_is_unknown_for_a_class_that_was_not_tested() -> None:
    np.testing.assert_array_equal(class_accuracy(confusion_matrix(TRUE, PREDICTED, 3)), [0.75, 0.5, np.nan])


def test_client_accuracy_weights_classes_by_the_clients_own_mixture() -> None:
    per_class = np.array([0.75, 0.5, np.nan])
    class_counts = np.array(
        [
            [1, 3, 0],  # 1/4 of 0.75 and 3/4 of 0.5
            [2, 0, 0],
            [0, 0, 0],  # no labels, so no mixture
            [1, 0, 1],  # holds a class of unknown accuracy
        ]
    )
    np.testing.assert_allclose(client_accuracy(class_counts, per_class), [0.5625, 0.75, np.nan, np.nan])


def test_paired_gain_counts_what_changed() -> None:
    before, after = np.array([0, 1, 0, 0]), np.array([0, 0, 0, 1])
    fixed, broken, half_width = paired_gain(np.array([0, 0, 1, 0]), before, after)
    assert (fixed, broken) == (1, 1)
    assert half_width == pytest.approx(1.96 * np.sqrt(0.5) / 2)  # differences 0, 1, 0, -1: variance 1/2
