"""The images, and who holds which."""

from typing import Literal

from pydantic import Field, model_validator

from fedsyn.config.section import NOT_IN_KEY, Fraction, Positive, Section


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
