"""Step 2a from logits to evidence, on clients whose classes are known: three normals on a line."""

import numpy as np
import pytest

from fedsyn.config import PseudoLabels
from fedsyn.pseudo_labels.calibration import Calibration
from fedsyn.pseudo_labels.labeling import Labeled, Predictions, label

CENTRES = np.array([-2.0, 0.0, 2.0])
PRIOR = np.array([0.3, 0.4, 0.3])
MIXTURES = np.array([[0.9, 0.1, 0.0], [0.0, 0.3, 0.7], [0.0, 0.8, 0.2]])  # their mean is the prior
GRID = (0.0, 0.6, 0.9)


def drawn(mixtures: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each mixture `count` samples: logits under PRIOR (n, 3) float32, true classes and clients (n,)."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([rng.choice(3, count, p=mixture) for mixture in mixtures])
    x = CENTRES[true] + rng.standard_normal(len(true))
    logits = np.log(PRIOR) - 0.5 * (x[:, None] - CENTRES) ** 2
    return logits.astype(np.float32), true, np.repeat(np.arange(len(mixtures)), count)


def found(alignment: str, bias: float = 0.0) -> tuple[Labeled, np.ndarray]:
    """What step 2a finds, and the true classes of the unlabelled samples; `bias` is added to the logits of class 1."""
    shift = np.array([0, bias, 0], np.float32)
    logits, hidden, owner = drawn(MIXTURES, 2000, seed=0)
    known, true, holder = drawn(PRIOR[None].repeat(3, axis=0), 1000, seed=1)
    settings = PseudoLabels(distribution_alignment=alignment, confidence_grid=GRID)
    pools = Predictions.of(logits + shift, 1.0, owner), Predictions.of(known + shift, 1.0, holder)
    return label(*pools, true, PRIOR, settings), hidden


def true_precision(labeled: Labeled, hidden: np.ndarray) -> np.ndarray:
    predicted, confidence = labeled.unlabeled.best()
    kept = [[(predicted == c) & (confidence >= t) for c in range(3)] for t in GRID]
    return np.array([[(hidden[rows] == c).mean() for c, rows in enumerate(row)] for row in kept])


def test_without_alignment_predictions_stay_and_counts_are_whole():
    labeled, _ = found("none")
    assert labeled.class_weights is None
    assert labeled.calibration.matrices.dtype == np.int64
    assert labeled.calibration.matrices[0].sum() == 3000


def test_alignment_to_each_client_labels_better_and_its_estimate_is_right():
    """The plain counts of calibration samples, whose classes are others, would be far from it."""
    (plain, hidden), (labeled, _) = found("none"), found("client")
    right = [(each.unlabeled.best()[0] == hidden).mean() for each in (plain, labeled)]
    assert right[1] > right[0] + 0.03
    truth = true_precision(labeled, hidden)
    assert labeled.calibration.precision() == pytest.approx(truth, abs=0.03)
    assert np.abs(plain.calibration.precision()[0] - truth[0]).max() > 0.05
    assert (labeled.calibration.lower_bound(0.99) <= truth + 1e-9).all()
    assert labeled.calibration.matrices[0].sum() == pytest.approx(6000)
    assert (labeled.calibration.samples <= 3000).all()


def test_a_classifiers_bias_is_taken_out_before_mixtures_are_estimated():
    """Class 1 is predicted far too often, by the same factor of its odds everywhere: its weight takes that back."""
    (straight, hidden), (biased, _), (plain, _) = found("client"), found("client", bias=2.0), found("none", bias=2.0)
    right = [(each.unlabeled.best()[0] == hidden).mean() for each in (straight, biased, plain)]
    assert right[1] == pytest.approx(right[0], abs=0.01)
    assert right[2] < right[0] - 0.2
    assert biased.calibration.precision() == pytest.approx(true_precision(biased, hidden), abs=0.03)


def test_the_global_alignment_makes_the_mean_prediction_the_prior():
    labeled, _ = found("global", bias=2.0)
    assert labeled.unlabeled.probabilities.mean(axis=0) == pytest.approx(PRIOR, abs=0.01)
    assert labeled.calibration.matrices.dtype == np.int64


def test_a_federation_without_unlabelled_samples_has_counts_all_the_same():
    logits, true, owner = drawn(PRIOR[None], 50, seed=2)
    nothing = Predictions(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    settings = PseudoLabels(distribution_alignment="client", confidence_grid=GRID)
    labeled = label(nothing, Predictions.of(logits, 1.0, owner), true, PRIOR, settings)
    assert isinstance(labeled.calibration, Calibration)
    assert labeled.calibration.matrices[0].sum() == 50
