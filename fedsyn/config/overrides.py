"""What is different from a preset, and from a machine's own settings: sections whose fields are all optional.

Built from `Experiment` and `Execution`, so that the form in Prefect's UI has their groups, limits, choices and
explanations.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from fedsyn.config.execution import OF_THE_MACHINE, Execution
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
        if isinstance(given, Section):
            return given.model_dump(mode="json")
        if not isinstance(given, Mapping):
            return given
        nested = _without_null({name: value for name, value in given.items() if "." not in name})
        for path, value in given.items():
            *groups, name = path.split(".")
            group = nested
            for inner in groups:
                group = group.setdefault(inner, {})
                if not isinstance(group, dict):
                    raise ValueError(f"{inner} is a value, not a group, in {path!r}")
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
    """In a form, a number or a text that is left empty is left out; a switch or a choice cannot be empty, and is
    offered beside `as it is`."""
    schema.pop("default", None)
    kinds: Any = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]  # type: ignore[union-attr]
    if len(kinds) == 1 and "type" in kinds[0] and kinds[0]["type"] != "boolean" and "enum" not in kinds[0]:
        del schema["anyOf"]
        schema.update(kinds[0])
    elif kinds:
        schema["anyOf"] = [{"type": "null", "title": "as it is"}, *({"title": "other"} | kind for kind in kinds)]


class _OfAnExperiment(Given):
    """A group whose fields can be dotted names too, which no form offers but a request may hold."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> JsonDict:
        schema: JsonDict = handler.resolve_ref_schema(handler(core))
        return schema | {"patternProperties": {r"^\w+(\.\w+)+$": {}}}


class _OnTheMachine(Given):
    """A group whose form does not offer what belongs to the machine: its folders and addresses."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> JsonDict:
        schema: JsonDict = handler.resolve_ref_schema(handler(core))
        properties: Any = schema["properties"]
        for name in OF_THE_MACHINE:
            del properties[name]
        return schema

    @model_serializer(mode="wrap")
    def _without_what_no_form_knows(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The default of a form lists all fields; what it does not offer stands there only if it was given."""
        left_out = set(OF_THE_MACHINE) - self.model_fields_set
        return {name: value for name, value in dump(self).items() if name not in left_out}


if TYPE_CHECKING:
    Overrides = Given
    ExecutionOverrides = Given
else:
    Overrides = _optional(Experiment, _OfAnExperiment)
    ExecutionOverrides = _optional(Execution, _OnTheMachine)
"""The fields that differ from a preset's, or from the machine's. Everything that is left out keeps that value."""
