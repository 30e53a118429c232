"""Weighted calibration by hand on three classes, and against samples that the server never sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.pseudo_labels.calibration import client_weights, counted, weighted
from fedsyn.pseudo_labels.confusion import confusion_matrices, precision

BY_HAND = np.array([[[8, 2, 0], [1, 9, 0], [1, 1, 3]]])  # (T = 1, C, C): 10, 10 and 5 samples


def test_counts_weigh_the_same():
    calibration = counted(BY_HAND)
    assert calibration.samples.tolist() == [[10, 12, 3]]
    assert calibration.precision()[0].tolist() == [0.8, 0.75, 1.0]
    assert calibration.lower_bound(0.9)[0, 0] == pytest.approx(0.60160, abs=1e-5)


def test_a_sample_stands_for_the_unlabelled_ones_of_its_class():
    """100 samples of a client, half of class 0 and half of class 1; 10, 5 and no calibration samples."""
    weights = client_weights(np.array([100]), np.array([[0.5, 0.5, 0.0]]), np.array([10, 5, 0]))
    assert weights.tolist() == [[5, 10, 0]]


def test_one_client_by_hand():
    """Weights 4, 1 and 0: column 0 is 32 + 1 + 0, of which 32 are right. Sum of squares 8 * 16 + 1 = 129."""
    calibration = weighted([BY_HAND[0][None]], np.array([[4.0, 1.0, 0.0]]))
    assert calibration.matrices[0].tolist() == [[32, 8, 0], [1, 9, 0], [0, 0, 0]]
    assert calibration.precision()[0, :2] == pytest.approx([32 / 33, 9 / 17])
    assert np.isnan(calibration.precision()[0, 2])
    assert calibration.samples[0] == pytest.approx([33**2 / 129, 17**2 / (2 * 16 + 9), 0])
    assert calibration.lower_bound(0.9)[0, 2] == 0


def test_clients_who_agree_are_no_more_evidence_than_one():
    """Three clients under whose alignment every sample is predicted alike: as many samples as there are."""
    once, thrice = counted(BY_HAND), weighted([BY_HAND] * 3, np.full((3, 3), 7.0))
    assert thrice.precision() == pytest.approx(once.precision())
    assert thrice.samples == pytest.approx(once.samples)


def test_two_clients_by_hand():
    """A client of class 0 only and one of class 1 only, and a sample of either class that both predict as 0."""
    one = np.array([[[4, 0, 0], [9, 0, 0], [0, 0, 0]]])
    other = np.array([[[1, 3, 0], [1, 8, 0], [0, 0, 0]]])
    calibration = weighted([one, other], np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    assert calibration.matrices[0].tolist() == [[8, 0, 0], [3, 24, 0], [0, 0, 0]]
    assert calibration.precision()[0, 0] == pytest.approx(8 / 11)
    assert calibration.samples[0, 0] == pytest.approx(11**2 / ((2 * 2) ** 2 + 3**2))


@given(st.integers(0, 10_000))
def test_effective_samples_are_never_more_than_the_samples_themselves_say(seed):
    """Kish's number from the weight of every sample, which the server cannot know, bounds it; both are at most n."""
    rng = np.random.default_rng(seed)
    clients, samples, grid = 4, 30, np.array([0.0, 0.5])
    true, weights = rng.integers(0, 3, samples), rng.gamma(0.5, size=(clients, 3))
    predicted, confidence = rng.integers(0, 3, (clients, samples)), rng.random((clients, samples))
    counts = [confusion_matrices(true, predicted[k], confidence[k], grid, 3) for k in range(clients)]
    calibration = weighted(counts, weights)
    for row, t in enumerate(grid):
        for c in range(3):
            counts_as_c = (predicted == c) & (confidence >= t)  # (K, n)
            each = (weights[:, true] * counts_as_c).sum(axis=0)  # (n,)
            right = each[true == c].sum()
            assert calibration.matrices[row, :, c].sum() == pytest.approx(each.sum())
            if each.any():
                assert calibration.precision()[row, c] == pytest.approx(right / each.sum())
                assert calibration.samples[row, c] <= each.sum() ** 2 / (each**2).sum() + 1e-9
                assert calibration.samples[row, c] <= counts_as_c.any(axis=0).sum() + 1e-9
            else:
                assert calibration.samples[row, c] == 0


def test_weighting_corrects_a_shift_of_the_classes_between_the_two_pools():
    """Calibration samples: classes alike. Unlabelled ones: class 0 three times as often. Predictions of class 0 are
    right in 80 of 100 by the plain counts; where class 0 is common, in 240 of 260."""
    confusion = np.array([[[80, 20], [20, 80]]])
    assert counted(confusion).precision()[0].tolist() == [0.8, 0.8]
    weights = client_weights(np.array([400]), np.array([[0.75, 0.25]]), np.array([100, 100]))
    calibration = weighted([confusion], weights)
    assert calibration.precision()[0] == pytest.approx([240 / 260, 80 / 140])
    assert precision(calibration.matrices)[1] == pytest.approx(np.array([[260, 140]]))
