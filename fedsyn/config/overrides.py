"""What of a preset is different: the experiment's sections and fields, every one of them optional.

Built from `Experiment`, so that the form in Prefect's UI has its groups, limits, choices and explanations.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from fedsyn.config.experiment import Experiment
from fedsyn.config.section import Section


class Given(BaseModel):
    """A group of settings of which only those count that were given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, given: Any) -> Any:
        """`{"synthesis.steps": 10}` is `{"synthesis": {"steps": 10}}`.

        A form sends null for every field that was left empty, so null in a group is nothing; under a dotted name it is
        meant as it stands.
        """
        if not isinstance(given, Mapping):
            return given
        nested = _without_null({name: value for name, value in given.items() if "." not in name})
        for path, value in given.items():
            *groups, name = path.split(".")
            group = nested
            for inner in groups:
                group = group.setdefault(inner, {})
            if groups:
                group[name] = value
        return nested

    def given(self) -> dict[str, Any]:
        """The fields that were given, nested, as plain values."""
        return self.model_dump(mode="json", exclude_unset=True)


def _without_null(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_null(value) if isinstance(value, Mapping) else value
        for name, value in group.items()
        if value is not None
    }


class _Group(BaseModel):
    """A section inside `Given`."""

    model_config = Given.model_config


def _optional(section: type[Section], base: type[BaseModel]) -> type[BaseModel]:
    """`section`, every field of which may be left out."""
    fields: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            inner = _optional(field.annotation, _Group)
            fields[name] = (inner, Field(inner(), json_schema_extra=_left_out))
        else:
            fields[name] = (_annotation(field) | None, _described(field))
    return create_model(section.__name__, __base__=base, __doc__=section.__doc__, **fields)


def _annotation(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _described(field: FieldInfo) -> Any:
    return Field(None, description=field.description, discriminator=field.discriminator, json_schema_extra=_left_out)


def _left_out(schema: JsonDict) -> None:
    """In a form, what may be left out is a field without a default, and not a choice between a value and null."""
    schema.pop("default", None)
    kinds: Any = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]  # type: ignore[union-attr]
    if len(kinds) != 1 or "$ref" in kinds[0] or "oneOf" in kinds[0]:  # a group of fields, or a choice of groups
        return
    del schema["anyOf"]
    schema.update(kinds[0])
    if "enum" in schema:  # a form sends null for a choice that was not made
        schema["enum"] = [*schema["enum"], None]  # type: ignore[misc]
        del schema["type"]


if TYPE_CHECKING:
    Overrides = Given
else:
    Overrides = _optional(Experiment, Given)
"""The fields that differ from a preset's. Everything that is left out keeps the preset's value."""
