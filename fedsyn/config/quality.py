"""How synthetic images are measured. Nothing here decides anything: it only says what is looked at."""

from pydantic import Field, field_validator

from fedsyn.config.section import BY_CONTENT, Fraction, Positive, Section


class Quality(Section):
    """How synthetic images are measured."""

    neighbours: Positive = Field(5, description="Neighbours k of precision, recall, density and coverage")
    most_images: int = Field(
        10_000, ge=100, description="Most real and most synthetic images that distances are computed from, each"
    )
    classification_rounds: int = Field(
        5,
        ge=0,
        description="Rounds of the judge's schedule on synthetic images alone, for the classification accuracy score, "
        "and as many on as many real ones; 0: none",
    )
    memorised_neighbours: int = Field(
        5, ge=2, description="Nearest training images whose mean distance says what is near, for memorisation"
    )
    memorised_ratio: Fraction = Field(
        0.5,
        description="An image is memorised where its nearest training image is closer than this share of that mean",
    )
    inception: str | None = Field(
        None,
        description="File (.safetensors) with the weights of torch-fidelity's Inception network, for FID, KID and IS; "
        "empty: the judge's features alone",
        json_schema_extra=BY_CONTENT,
    )

    @field_validator("inception")
    @classmethod
    def _inception_is_not_a_pickle(cls, value: str | None) -> str | None:
        if value is not None and not value.endswith(".safetensors"):
            raise ValueError(
                f"must be a .safetensors file, got {value!r}; torch-fidelity's own is a pickle, which may run code "
                "when it is opened: docs/quality.md has the line that converts it"
            )
        return value
