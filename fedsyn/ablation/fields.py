"""Fields of an experiment by dotted name: which there are, and how few words name one."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from fedsyn.config import Experiment
from fedsyn.presets import ConfigError


def check(fields: Iterable[str]) -> None:
    """See that every one of these is a field that an arm may set.

    Raises:
        ConfigError: one is not; the message says where it is set instead.
    """
    if problems := [problem for field in fields if (problem := _problem(field))]:
        raise ConfigError("\n".join(problems))


def short_name(field: str) -> str:
    """The shortest end of a dotted name that no other field has: `guidance_scale`, but `classifier.rounds`."""
    parts = field.split(".")
    ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
    return next((end for end in ends if sum(f".{name}".endswith(f".{end}") for name in known()) == 1), field)


def plain(value: object) -> str:
    """A value as it would stand in YAML: `balance`, `1.0`, `[32, 64]`, `null`."""
    return json.dumps(value, ensure_ascii=False, default=str).replace('"', "")


@cache
def known() -> frozenset[str]:
    """The dotted names of all fields and groups of an experiment."""
    return frozenset(_fields(Experiment))


def _fields(annotation: Any, prefix: str = "") -> Iterator[str]:
    """The fields of a model, or of all models of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield prefix + name
            yield from _fields(field.annotation, f"{prefix}{name}.")
    for inner in get_args(annotation):
        yield from _fields(inner, prefix)


def _problem(field: str) -> str:
    if field == "seed":
        return "seed is none of an arm's fields, since every arm is run with every seed; list them in seeds"
    if field.split(".")[0] == "execution":
        return (
            f"{field} says how a run is carried out and changes no result, so arms cannot differ in it; "
            "set it for the whole study: --set execution.field=value, or the flow's parameter execution"
        )
    return "" if field in known() else f"{field} is not a field; `fedsyn config` shows all fields"
