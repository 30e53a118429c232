"""Which images are compared: as many of each class from both sides, drawn under their own names."""

import numpy as np

from fedsyn.data.partition import apportion
from fedsyn.randomness import generator


def common_counts(counts: np.ndarray, others: np.ndarray, most: int) -> np.ndarray:
    """Images of each class (C,) that both sides have, of counts (C,) each; in proportion where they exceed `most`."""
    shared = np.minimum(counts, others)
    total = int(shared.sum())
    return apportion(shared * (most / total), most) if total > most else shared


def draw_by_class(labels: np.ndarray, counts: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """Rows of `labels` (N,), `counts` (C,) of each class, without replacement, ascending."""
    drawn = [
        generator(seed, "quality", purpose, class_id=class_id).permutation(np.flatnonzero(labels == class_id))[:number]
        for class_id, number in enumerate(counts)
    ]
    return np.sort(np.concatenate(drawn))


def draw_at_most(number: int, most: int, seed: int, purpose: str) -> np.ndarray:
    """At most `most` of `number` rows, without replacement, ascending."""
    return np.sort(generator(seed, "quality", purpose).permutation(number)[:most])
