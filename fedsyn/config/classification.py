"""Steps 1 and 5: the classifier, and what it is compared and judged with."""

from typing import Literal

from pydantic import Field, model_validator

from fedsyn.config.federated import FederatedTraining
from fedsyn.config.section import IN_GRAPH, Positive, Section


class Classifier(FederatedTraining):
    """Step 1, and the architecture and schedule of step 5."""

    architecture: Literal["cnn", "resnet18"] = Field(
        "cnn", description="`cnn`: two convolutions and two linear layers; `resnet18`: torchvision's"
    )
    width: Positive = Field(32, description="Channels of the first convolution of `cnn`; a multiple of 8")
    augmentation: Literal["none", "shift", "shift-flip"] = Field(
        "none", description="Random shifts by an eighth of the image, and horizontal flips"
    )
    normalization: Literal["group", "batch"] = Field(
        "group", description="GroupNorm, or BatchNorm, whose running statistics do not average over skewed clients"
    )
    batch_statistics: Literal["aggregate", "local", "recompute"] = Field(
        "aggregate",
        description="With BatchNorm. `aggregate`: running statistics are averaged as weights are; `local`: none are "
        "sent; who predicts uses those of its own images; `recompute`: clients measure them anew each round",
    )
    logit_adjustment: Literal["none", "client", "global"] = Field(
        "none",
        description="Add the log of the label prior to the logits in training: each client's own prior, which keeps "
        "absent classes from being forgotten, or the global one",
    )
    class_balanced_sampling: bool = Field(
        False, description="Draw local batches with every class of the client equally likely"
    )
    evaluate_every: Positive = Field(1, description="Rounds between two measurements on the test set")

    @model_validator(mode="after")
    def _normalization_fits(self) -> "Classifier":
        if self.ema_decay > 0 and self.normalization == "batch" and self.batch_statistics == "aggregate":
            raise ValueError(
                "ema_decay averages weights over rounds, and BatchNorm's aggregated statistics belong to the last "
                "round's; set batch_statistics 'recompute' or 'local', or ema_decay 0"
            )
        if self.privacy is not None and self.normalization == "batch" and self.batch_statistics != "local":
            raise ValueError(
                "privacy covers the weights, not BatchNorm's running statistics; "
                "set normalization 'group' or batch_statistics 'local'"
            )
        return self

    @model_validator(mode="after")
    def _width_fits_groups(self) -> "Classifier":
        if self.width % 8:
            raise ValueError(f"width must be a multiple of 8 (GroupNorm has 8 groups), got {self.width}")
        return self


class Retrain(Section):
    """Step 5: the classifier again, on labelled and synthetic images."""

    warm_start: bool = Field(False, description="Start from the step-1 classifier instead of fresh weights")
    include_pseudo_labels: bool = Field(False, description="Train on the selected pseudo-labels too")
    consistency_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the divergence between the predictions for an image and for the same image augmented",
    )
    cycles: int = Field(
        1,
        ge=1,
        le=10,
        description="Times that steps 2 to 5 are taken. From the second on, the retrained classifier of the one before "
        "stands in for that of step 1: it labels, it confirms, and `warm_start` starts from it",
        json_schema_extra=IN_GRAPH,
    )


class Baselines(Section):
    """What the retrained classifier is compared with: the same classifier, schedule and first weights, other data."""

    central: bool = Field(
        True, description="Train on the same labels gathered in one place: the bound without heterogeneity"
    )
    all_labels: bool = Field(True, description="FedAvg on the true labels of all images, the hidden ones included")
    pseudo_labels: bool = Field(
        True, description="FedAvg on labels and selected pseudo-labels, without synthetic images"
    )


class Judge(Classifier):
    """A classifier trained in one place on all real training images with their true labels. It judges synthetic
    images; it decides nothing."""

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of the judge: one judge serves the runs of all seeds")
