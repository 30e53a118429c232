"""What a classifier's predictions say of images: clear ones, of all classes (Salimans et al., 2016)."""

from torch import Tensor


def prediction_score(probabilities: Tensor) -> float:
    """exp of the mean divergence of p(y | x) from p(y), of probabilities (N, C): from 1 to C.

    Over all images at once. With the Inception network's predictions it is the Inception score.
    """
    entropy = probabilities.xlogy(probabilities).sum(1).mean()
    marginal = probabilities.mean(0)
    return float((entropy - marginal.xlogy(marginal).sum()).exp())
