"""All measures of one feature space: synthetic images against real ones, and real ones against each other."""

from fedsyn.metrics.features import Embedding
from fedsyn.metrics.frechet import frechet_distance
from fedsyn.metrics.kernel import kernel_distance
from fedsyn.metrics.predictions import prediction_score
from fedsyn.metrics.support import support


def compare(reference: Embedding, synthetic: Embedding, real: Embedding, k: int) -> dict[str, dict[str, float]]:
    """The measures of `synthetic` and of `real`, both against `reference`; `k` neighbours.

    `real`: other real images, as many of each class as of the synthetic ones. Theirs is the floor: what perfect images
    of these classes and this number would score.
    """
    return {
        name: {
            "frechet_distance": frechet_distance(reference.features, seen.features),
            "kernel_distance": kernel_distance(reference.features, seen.features),
            "prediction_score": prediction_score(seen.probabilities),
            **support(reference.features, seen.features, k),
        }
        for name, seen in (("synthetic", synthetic), ("real", real))
    }
