"""What every group of settings shares: frozen, strict, and able to say which of its fields a key covers."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from fedsyn.config.content import content_hash

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]

NOT_IN_KEY: JsonDict = {"in_key": False}

IN_GRAPH: JsonDict = {"in_key": "graph"}
"""Of a field that says which stages a run has and changes nothing inside one: no key covers it."""

BY_CONTENT: JsonDict = {"in_key": "content"}
"""Of a field that names a file or folder: the key covers what is in it, and not where it lies."""


class Section(BaseModel):
    """A frozen group of settings that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def key_fields(self) -> dict[str, Any]:
        """The fields that a stage's key covers, as plain JSON values.

        Raises:
            ValueError: a field names a file or folder that cannot be read; the message says which.
        """
        fields = type(self).model_fields
        excluded = {name for name, field in fields.items() if field.json_schema_extra in (NOT_IN_KEY, IN_GRAPH)}
        values = self.model_dump(mode="json", exclude=excluded)
        for name, field in fields.items():
            if field.json_schema_extra == BY_CONTENT and values[name] is not None:
                values[name] = content_hash(Path(values[name]), f"{type(self).__name__.lower()}.{name}")
        return values
