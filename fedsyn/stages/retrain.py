"""Step 5: the classifier again, by FedAvg on D_k^l + D_k^s."""

from collections.abc import Mapping

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import Classifier, Retrain
from fedsyn.context import Context
from fedsyn.stages.classifier import believed_samples, fit, labeled_samples, load_classifier
from fedsyn.stages.synthesis import load_images


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    classifier: Classifier,
    retrain: Retrain,
) -> dict[str, float]:
    """Writes what the classifier stage writes."""
    samples = believed_samples(inputs) if retrain.include_pseudo_labels else labeled_samples(inputs["partition"])
    info = inputs["dataset"].read_json("info")
    model = load_classifier(inputs["classifier"], info) if retrain.warm_start else None
    images = load_images(inputs["synthesis"])
    return fit(
        inputs,
        output,
        context,
        samples,
        classifier,
        seed=seed,
        synthetic=images,
        model=model,
        consistency_weight=retrain.consistency_weight,
    )
