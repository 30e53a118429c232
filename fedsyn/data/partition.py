"""Step 0: labels kept and hidden, and both pools spread over the clients (dual heterogeneity).

Every function is pure: labels and generators in, index arrays and counts out. Nothing loops until lucky: the least
number of samples of a client is reached by moving samples, and what moved is returned.
"""

import numpy as np


class PartitionError(ValueError):
    """The data set cannot be spread as asked; the message names field, value and way out."""


def keep_labels(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Which samples keep their labels: `fraction` of each class, at least one, drawn without replacement.

    `labels`: (N,) ints. Returns (N,) bools whose sum is round(fraction * N) unless a class would get none.
    """
    kept = np.zeros(len(labels), dtype=bool)
    classes, sizes = np.unique(labels, return_counts=True)
    quotas = np.maximum(apportion(sizes * fraction, round(fraction * len(labels))), 1)
    for class_id, quota in zip(classes, quotas, strict=True):
        kept[rng.permutation(np.flatnonzero(labels == class_id))[:quota]] = True
    return kept


def iid(num_samples: int, num_clients: int, rng: np.random.Generator) -> np.ndarray:
    """The client of each sample, (N,): equal shares, drawn at random."""
    return rng.permutation(np.arange(num_samples) % num_clients)


def dirichlet_priors(num_classes: int, num_clients: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """For each class, the clients' shares of it: (C, K) rows ~ Dirichlet(alpha), each summing to one.

    Drawn through log-gammas, so that a tiny alpha gives a one-hot row instead of 0/0. (Gamma(alpha) is distributed as
    Gamma(alpha + 1) * U^(1/alpha): Marsaglia and Tsang, 2000.)
    """
    shape = (num_classes, num_clients)
    log_gamma = np.log(rng.gamma(alpha + 1, size=shape)) + np.log(1 - rng.random(shape)) / alpha
    weights = np.exp(log_gamma - log_gamma.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def by_priors(labels: np.ndarray, priors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The client of each sample, (N,): every class is dealt out in the shares of its row of `priors` (C, K)."""
    clients = np.empty(len(labels), dtype=np.int64)
    for class_id, shares in enumerate(priors):
        members = rng.permutation(np.flatnonzero(labels == class_id))
        counts = apportion(shares * len(members), len(members))
        clients[members] = np.repeat(np.arange(len(shares)), counts)
    return clients


def apportion(quotas: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total` and are nearest to `quotas` (largest remainders; ties to the first)."""
    whole = np.floor(quotas + 1e-9).astype(np.int64)
    order = np.argsort(-(quotas - whole), kind="stable")
    whole[order[: max(0, total - int(whole.sum()))]] += 1
    return whole


def reach_minimum(
    clients: np.ndarray, num_clients: int, minimum: int, field: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Move samples from the largest clients until each has `minimum`.

    Returns the new client of each sample (N,), and the moves: {sample (its row), source, target}.

    Raises:
        PartitionError: there are fewer than num_clients * minimum samples; `field` names the setting.
    """
    if len(clients) < num_clients * minimum:
        raise PartitionError(
            f"{field} must be <= {len(clients) // num_clients} for {num_clients} clients and {len(clients)} samples, "
            f"got {minimum}; lower it, or lower partition.num_clients"
        )
    clients, moves = clients.copy(), []
    sizes = np.bincount(clients, minlength=num_clients)
    for target in np.flatnonzero(sizes < minimum):
        while sizes[target] < minimum:
            source = int(sizes.argmax())
            sample = int(rng.choice(np.flatnonzero(clients == source)))
            clients[sample] = target
            sizes[source] -= 1
            sizes[target] += 1
            moves.append({"sample": sample, "source": source, "target": int(target)})
    return clients, moves


def hold_out(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A stratified slice of one client's labelled samples, for calibration: (n,) bools, round(fraction * n) true."""
    held = np.zeros(len(labels), dtype=bool)
    classes, sizes = np.unique(labels, return_counts=True)
    quotas = apportion(sizes * fraction, round(fraction * len(labels)))
    for class_id, quota in zip(classes, quotas, strict=True):
        held[rng.permutation(np.flatnonzero(labels == class_id))[:quota]] = True
    return held
