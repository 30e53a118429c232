"""What every group of settings shares: frozen, strict, and able to say which of its fields a key covers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]

NOT_IN_KEY: JsonDict = {"in_key": False}


class Section(BaseModel):
    """A frozen group of settings that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def key_fields(self) -> dict[str, Any]:
        """The fields that a stage's key covers, as plain JSON values."""
        fields = type(self).model_fields
        excluded = {name for name, field in fields.items() if field.json_schema_extra == NOT_IN_KEY}
        return self.model_dump(mode="json", exclude=excluded)
