"""Distribution alignment: predictions reweighted by how common each class is where they are made.

p'(y | x) is proportional to w(y) p(y | x). `global` (ReMixMatch; Berthelot et al., 2020) takes w from what the
predictions of all clients are on average; `client` from the class mixture that each client estimates of its own
unlabelled samples (Saerens et al., 2002), which is right where clients differ in the classes that they hold and not
in what these look like.
"""

import numpy as np

MOST_STEPS = 200
TOLERANCE = 1e-6


def smoothed_prior(counts: np.ndarray) -> np.ndarray:
    """Server side: the label prior (C,) from the clients' added label counts (C,), one sample of each class more: a
    class that nobody has labelled is rare, not impossible."""
    return (counts + 1) / (counts + 1).sum()


def global_weights(sums: np.ndarray, total: int, prior: np.ndarray) -> np.ndarray:
    """Server side: what to multiply the weights (C,) by, the label prior / the mean prediction, from the added `sums`
    (C,) of all clients' probabilities over `total` unlabelled samples. One more sample, of the prior, bounds it."""
    return prior / ((sums + prior) / (total + 1))


def class_mixture(probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Client side: the mixture pi_k (C,) of the client's unlabelled samples, by EM on their `probabilities` (n, C).

    `prior` (C,): the class mixture that the probabilities assume. Each step aligns the predictions to the mixture so
    far and takes their mean. C more samples, of the prior, keep every class possible, and a classifier that tells
    classes badly, whose likelihood is flat, from ending in a corner. The posterior is concave in the mixture, so there
    is one answer; without samples it is the prior.
    """
    mixture, more = prior, len(prior)
    for _ in range(MOST_STEPS):
        expected = aligned(probabilities, mixture / prior).sum(axis=0)  # samples of each class (C,)
        before, mixture = mixture, (expected + more * prior) / (len(probabilities) + more)
        if np.abs(mixture - before).max() < TOLERANCE:
            break
    return mixture


def aligned(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Client side: w(y) p(y | x), normalised; (n, C) float64."""
    weighted = probabilities * weights
    return weighted / weighted.sum(axis=1, keepdims=True)
