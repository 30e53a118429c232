"""Step 2: which pseudo-labels there are, and which of them are believed."""

from typing import Literal

from pydantic import Field, model_validator

from fedsyn.config.section import Fraction, Probability, Section

DEFAULT_GRID = (
    0.0,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.925,
    0.95,
    0.97,
    0.98,
    0.99,
    0.995,
    0.998,
    0.999,
)


class PseudoLabels(Section):
    """Step 2a: predictions on unlabelled images, and the confusion matrices M^t."""

    calibration: Literal["held_out", "train", "cross_fit"] = Field(
        "held_out",
        description="Labels that count into the confusion matrices: the calibration slice; `train`: those of the "
        "training (optimistic); `cross_fit`: each of them by a classifier of other folds, so that no label is lost",
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of `cross_fit`, a federated training each")
    temperature_scaling: bool = Field(
        False,
        description="Divide the logits by the temperature with the least log loss on the calibration labels, which "
        "the server finds from the clients' sums",
    )
    distribution_alignment: Literal["none", "global", "client"] = Field(
        "none",
        description="Reweight predictions so that their mean has the label prior (`global`), or the class mixture that "
        "each client estimates of its unlabelled images (`client`)",
    )
    confidence_grid: tuple[Probability, ...] = Field(
        DEFAULT_GRID,
        min_length=1,
        description="Confidences t at which the matrices M^t are counted, ascending",
    )

    @model_validator(mode="after")
    def _grid_ascends(self) -> "PseudoLabels":
        if list(self.confidence_grid) != sorted(set(self.confidence_grid)) or self.confidence_grid[0] != 0:
            raise ValueError(
                f"confidence_grid must begin with 0 (all predictions) and ascend, got {self.confidence_grid}"
            )
        return self


class Selection(Section):
    """Step 2b: which pseudo-labels are kept."""

    strategy: Literal["none", "fixed", "class_precision", "threshold", "oracle"] = Field(
        "threshold",
        description="`threshold`: per class the smallest confidence whose precision reaches the target; `fixed`: one "
        "confidence; `class_precision`: the most confident share P_c; `none`: all; `oracle`: the correct ones, a bound",
    )
    target_precision: Fraction = Field(0.95, description="Precision that `threshold` asks of every class")
    bound: Literal["wilson", "point"] = Field(
        "wilson",
        description="What must reach the target: the lower Wilson bound of the precision, or its estimate",
    )
    confidence_level: float = Field(0.9, ge=0.5, lt=1, description="One-sided level of the Wilson bound")
    min_per_class: int = Field(
        20, ge=0, description="Pseudo-labels that a class must keep where no confidence reaches the target"
    )
    min_share: Probability = Field(
        0.2,
        description="Share of its predictions that a class keeps at least, where no confidence reaches the target",
    )
    fixed_confidence: Probability = Field(0.95, description="Confidence of the strategy `fixed`")
