"""The rival that synthetic images must beat: FedAvg on labels and selected pseudo-labels, without any image made."""

from collections.abc import Mapping

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Baselines, Classifier
from fedsyn.context import Context
from fedsyn.stages.classifier import believed_samples, fit


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    classifier: Classifier,
    baselines: Baselines,
) -> dict[str, float]:
    """Writes what the classifier stage writes; nothing where `baselines.pseudo_labels` is off."""
    if not baselines.pseudo_labels:
        return {}
    return fit(inputs, output, context, believed_samples(inputs), classifier, seed=seed)
