"""What is computed: one section for each stage. A stage's key covers the sections that it reads."""

from typing import Literal

from pydantic import Field, model_validator

from fedsyn.config.federated import FederatedTraining
from fedsyn.config.section import NOT_IN_KEY, Fraction, Positive, Probability, Section


def _require_multiples_of_8(channels: tuple[int, ...]) -> None:
    odd = [width for width in channels if width % 8]
    if odd:
        raise ValueError(f"channels must be multiples of 8 (GroupNorm has 8 groups), got {odd[0]}")


class Dataset(Section):
    """The images. Their content is fingerprinted, so a moved folder is still the same data set."""

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "image-folder"] = Field(
        "digits", description="Data set: `digits` ships with scikit-learn, the others are read from disk"
    )
    root: str | None = Field(
        None,
        description="Folder that holds the data set's files; empty: the usual places are searched",
        json_schema_extra=NOT_IN_KEY,
    )
    image_size: Positive | None = Field(
        None, description="Height and width in pixels to which an image folder's pictures are resized"
    )

    @model_validator(mode="after")
    def _image_folder_is_complete(self) -> "Dataset":
        if self.name == "image-folder" and (self.root is None or self.image_size is None):
            raise ValueError("name 'image-folder' needs root (with train/ and test/) and image_size (in pixels)")
        if self.name != "image-folder" and self.image_size is not None:
            raise ValueError(f"image_size is for 'image-folder' only; '{self.name}' has a size of its own")
        return self


class Partition(Section):
    """Step 0: who holds which image, and with a label or without (dual heterogeneity)."""

    num_clients: int = Field(10, ge=1, le=32_000, description="Clients K")
    labeled_fraction: Fraction = Field(
        0.1, description="Share of the training images that keep their labels, stratified by class"
    )
    labeled: Literal["iid", "dirichlet"] = Field("dirichlet", description="Spread of the labelled pool")
    unlabeled: Literal["iid", "dirichlet"] = Field("dirichlet", description="Spread of the unlabelled pool")
    alpha_labeled: float = Field(
        0.1, ge=1e-6, description="Dirichlet concentration of the labelled pool; smaller is more skewed"
    )
    alpha_unlabeled: float = Field(
        0.1, ge=1e-6, description="Dirichlet concentration of the unlabelled pool; smaller is more skewed"
    )
    priors: Literal["independent", "shared"] = Field(
        "independent",
        description="Whether a client's labelled and unlabelled class mixtures are drawn apart or once",
    )
    min_labeled: int = Field(0, ge=0, description="Least labelled images of a client; 0 allows clients without")
    min_unlabeled: int = Field(1, ge=0, description="Least unlabelled images of a client")
    calibration_fraction: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="Share of each client's labels that no training sees: they calibrate the selection",
    )

    @model_validator(mode="after")
    def _shared_priors_have_one_alpha(self) -> "Partition":
        if self.priors == "shared":
            both = self.labeled == self.unlabeled == "dirichlet" and self.alpha_labeled == self.alpha_unlabeled
            if not both:
                raise ValueError(
                    "priors 'shared' needs labeled and unlabeled both 'dirichlet' with equal alphas; "
                    "use priors 'independent' otherwise"
                )
        return self


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

    calibration: Literal["held_out", "train"] = Field(
        "held_out",
        description="Labels that count into the confusion matrices: the calibration slice, or (optimistic) training's",
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


class Autoencoder(FederatedTraining):
    """Step 3a: the KL-regularised autoencoder, by FedAvg over all images."""

    unshuffle: Literal[1, 2, 4] = Field(
        2, description="Space-to-depth factor before the network: 2 makes it about four times cheaper"
    )
    channels: tuple[Positive, ...] = Field(
        (32, 64),
        min_length=1,
        max_length=4,
        description="Channels of each level; each further level halves the size",
    )
    latent_channels: Positive = Field(4, description="Channels of a latent")
    layers_per_block: Positive = Field(1, description="Residual layers of a level")
    kl_weight: float = Field(1e-4, ge=0, description="Weight of the Kullback-Leibler term per latent element")

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> "Autoencoder":
        _require_multiples_of_8(self.channels)
        return self


class Denoiser(FederatedTraining):
    """Step 3c: the class-conditional U-Net over latents, by FedAvg."""

    channels: tuple[Positive, ...] = Field(
        (64, 128),
        min_length=1,
        max_length=3,
        description="Channels of each level; each further level halves the size",
    )
    layers_per_block: Positive = Field(1, description="Residual layers of a level")
    attention: bool = Field(True, description="Self-attention at the coarsest level")
    prediction: Literal["v_prediction", "epsilon", "sample"] = Field(
        "v_prediction", description="What the network predicts"
    )
    noise_schedule: Literal["squaredcos_cap_v2", "linear"] = Field(
        "squaredcos_cap_v2", description="Course of the noise: cosine, or linear beta"
    )
    timesteps: int = Field(1000, ge=10, description="Diffusion steps T of training")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="Probability of training without the label, for classifier-free guidance"
    )

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> "Denoiser":
        _require_multiples_of_8(self.channels)
        return self


class Synthesis(Section):
    """Step 4: the plan of each client, and the images."""

    target: Literal["absent", "balance", "global"] = Field(
        "balance",
        description="`absent`: only classes without a label at the client; `balance`: every class up to `per_class`; "
        "`global`: the client's mixture becomes the global one",
    )
    per_class: Positive | None = Field(
        None,
        description="Images of a class after `absent` or `balance`; empty: as many as the client's largest class",
    )
    budget: Positive | None = Field(None, description="Most images that a client generates; empty: no limit")
    sampler: Literal["ddim", "dpm-solver++", "unipc"] = Field("dpm-solver++", description="Sampler of diffusers")
    steps: Positive = Field(20, description="Steps of the sampler")
    guidance_scale: float = Field(
        1.5, ge=1, description="Classifier-free guidance w: 1 samples the conditional model as it is"
    )
    batch_size: Positive = Field(128, description="Images drawn at once; the noise of an image does not depend on it")
    filter: bool = Field(False, description="Keep only images whose class the step-1 classifier confirms")


class Retrain(Section):
    """Step 5: the classifier again, on labelled and synthetic images."""

    warm_start: bool = Field(False, description="Start from the step-1 classifier instead of fresh weights")
    include_pseudo_labels: bool = Field(False, description="Train on the selected pseudo-labels too")


class Report(Section):
    """The pictures and the page."""

    images_per_class: int = Field(8, ge=1, le=20, description="Images of a class in the real-beside-synthetic picture")


class Experiment(Section):
    """Everything that decides what is computed.

    The same Experiment gives the same bytes on the same device with the same number of threads.
    """

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of every draw of this run")
    dataset: Dataset = Dataset()
    partition: Partition = Partition()
    classifier: Classifier = Classifier()
    pseudo_labels: PseudoLabels = PseudoLabels()
    selection: Selection = Selection()
    autoencoder: Autoencoder = Autoencoder()
    denoiser: Denoiser = Denoiser()
    synthesis: Synthesis = Synthesis()
    retrain: Retrain = Retrain()
    report: Report = Report()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Experiment":
        if self.pseudo_labels.calibration == "held_out" and self.partition.calibration_fraction == 0:
            raise ValueError(
                "pseudo_labels.calibration 'held_out' needs partition.calibration_fraction > 0; "
                "set it (0.2, say) or choose pseudo_labels.calibration 'train'"
            )
        if self.synthesis.steps > self.denoiser.timesteps:
            raise ValueError(
                f"synthesis.steps must be <= denoiser.timesteps ({self.denoiser.timesteps}), got {self.synthesis.steps}"
            )
        if self.synthesis.guidance_scale > 1 and self.denoiser.label_dropout == 0:
            raise ValueError(
                "synthesis.guidance_scale > 1 needs denoiser.label_dropout > 0: guidance uses the model without label"
            )
        return self
