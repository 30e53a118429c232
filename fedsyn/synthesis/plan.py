"""The plan: for each client and class have, target, to_generate = max(0, target - have)."""

import numpy as np

from fedsyn.config import Synthesis
from fedsyn.data.partition import apportion


def plan_targets(have: np.ndarray, learnable: np.ndarray, settings: Synthesis) -> np.ndarray:
    """Targets of every client and class, (K, C) ints.

    `have`: real samples that count as the clients' own, (K, C); `learnable`: (C,) bools, classes that the denoiser has
    seen. What it has never seen is not asked of it. `absent` and `balance` aim at `per_class` images, or as many as the
    client's largest class (for a client that has nothing: the mean of the other clients' largest); `global` is the
    smallest mixture with the global proportions that contains what the client has; `fixed` is `per_class` images more.
    """
    largest = have.max(axis=1, keepdims=True)  # (K, 1)
    typical = round(float(largest[largest > 0].mean())) if largest.any() else 0
    level = np.full_like(largest, settings.per_class) if settings.per_class else np.where(largest > 0, largest, typical)
    if settings.target == "absent":
        target = np.where(have == 0, level, have)
    elif settings.target == "balance":
        target = np.maximum(have, level)
    elif settings.target == "fixed":
        target = have + level
    else:
        share = have.sum(axis=0) / max(1, have.sum())  # (C,)
        scale = np.max(np.divide(have, share, out=np.zeros(have.shape), where=share > 0), axis=1, keepdims=True)
        scale = np.where(scale > 0, scale, scale[scale > 0].mean() if (scale > 0).any() else 0)
        target = np.maximum(have, np.ceil(share * scale - 1e-9).astype(np.int64))
    return np.where(learnable, target, have)


def to_generate(have: np.ndarray, target: np.ndarray, budget: int | None) -> np.ndarray:
    """Images to generate, (K, C): what is missing; a client over its budget is cut in proportion, to the image."""
    missing = np.maximum(0, target - have)
    if budget is None:
        return missing
    rows = [apportion(row * (budget / row.sum()), budget) if row.sum() > budget else row for row in missing]
    return np.asarray(rows)
