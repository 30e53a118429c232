"""What calibration says of predictions: matrices to read precision off, and how many samples stand behind it.

Without alignment, or with the global one, calibration samples are predicted as unlabelled ones are, and what they say
is their confusion matrices, added up. With `client` alignment a client's predictions follow its own class mixture,
and calibration samples, whose mixture is another one, are counted under every client's alignment and weighted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedsyn.pseudo_labels.confusion import precision, wilson_lower_bound


@dataclass(frozen=True)
class Calibration:
    """`matrices`: M_g^t (T, C, C), counts, or unlabelled samples to be expected; `samples`: those behind each
    precision (T, C), effective ones where they are weighted. Rows of a matrix are true classes, columns predicted."""

    matrices: np.ndarray
    samples: np.ndarray

    def precision(self) -> np.ndarray:
        """P_c(t), (T, C); NaN where no calibration sample was predicted as c."""
        return precision(self.matrices)[0]

    def lower_bound(self, confidence_level: float) -> np.ndarray:
        """The lower Wilson bound of P_c(t), (T, C); 0 without samples."""
        return wilson_lower_bound(self.precision(), self.samples, confidence_level)


def counted(matrices: np.ndarray) -> Calibration:
    """Server side: of integer counts every sample weighs the same, and the column sums are their number."""
    return Calibration(matrices, matrices.sum(axis=-2))


def client_weights(sizes: np.ndarray, mixtures: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Server side: v_k(i) = N_k pi_k(i) / n(i), (K, C): the unlabelled samples of client k that a calibration sample of
    class i stands for; 0 where there is none of the class.

    `sizes`: N_k, unlabelled samples (K,); `mixtures`: pi_k (K, C); `known`: n(i), calibration samples (C,).
    """
    expected = sizes[:, None] * mixtures
    return np.divide(expected, known, out=np.zeros(expected.shape), where=known > 0)


def weighted(counts: Iterable[np.ndarray], weights: np.ndarray) -> Calibration:
    """Server side: M_g^t[i, j] = sum_k v_k(i) n_k(i -> j, confidence >= t), and the effective samples behind it.

    `counts`: for each client k, the calibration samples of all clients under k's alignment (T, C, C), one after the
    other, since all of them together may be large; `weights`: v (K, C).

    A calibration sample s of class i weighs a_s = sum_k v_k(i) [under k's alignment it is predicted as j], and
    weighted samples say as much as (sum_s a_s)^2 / sum_s a_s^2 equal ones (Kish, 1965). The server knows no sample,
    but the triangle inequality bounds what it needs: sum_s a_s^2 <= (sum_k v_k(i) sqrt(n_k(i -> j)))^2 for each i.
    This is exact where all clients agree about a sample, and then, with equal weights, gives the number of samples
    itself; it never counts a sample twice because two clients have looked at it.
    """
    matrices = roots = np.zeros(())
    for count, weight in zip(counts, weights, strict=True):
        matrices = matrices + weight[:, None] * count
        roots = roots + weight[:, None] * np.sqrt(count)
    total, squares = matrices.sum(axis=-2), np.square(roots).sum(axis=-2)
    return Calibration(matrices, np.divide(total**2, squares, out=np.zeros(total.shape), where=squares > 0))
