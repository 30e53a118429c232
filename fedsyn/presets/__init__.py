"""Named experiments as YAML, and overrides on top of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from fedsyn.config import Experiment, Server
from fedsyn.config.shipped import ConfigError as ConfigError
from fedsyn.config.shipped import shipped_names, shipped_text

DEFAULT_PRESET = "digits"


def preset_names() -> list[str]:
    """The names of all presets."""
    return shipped_names(__name__)


def preset_text(name: str) -> str:
    """The YAML of a preset, with its comments.

    Raises:
        ConfigError: there is no such preset.
    """
    return shipped_text(__name__, name, "preset")


def load_experiment(preset: str = DEFAULT_PRESET, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a preset, with `overrides` merged over it field by field.

    `overrides` is nested (`{"synthesis": {"steps": 10}}`) or dotted (`{"synthesis.steps": 10}`); a field that it does
    not name keeps the preset's value.

    Raises:
        ConfigError: an unknown preset, an unknown field, a bad value or an impossible combination.
    """
    values = yaml.safe_load(preset_text(preset)) or {}
    for path, value in (overrides or {}).items():
        _merge(values, path.split("."), value)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["synthesis.steps=10", ...]` -> {"synthesis.steps": 10, ...}; values are read as YAML.

    `@FILE` stands for all fields of a YAML file, nested or dotted. Of a field given twice the last counts.

    Raises:
        ConfigError: an assignment has no equals sign, no field, or a value that is no YAML; or a file holds no fields.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        if assignment.startswith("@"):
            parsed |= _fields_of(Path(assignment.removeprefix("@")))
            continue
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"an override must look like section.field=value, got {assignment!r}")
        try:
            parsed[path.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path.strip()} must have a value in YAML, got {text!r}; quote it") from error
    return parsed


def _fields_of(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"@{path} must name a YAML file of fields, as `fedsyn config` writes one: {error}") from error
    if not isinstance(fields, Mapping):
        raise ConfigError(f"@{path} must hold fields, as `fedsyn config` writes them, got {fields!r}")
    return dotted(fields)


def dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`{"synthesis": {"steps": 10}}` is `{"synthesis.steps": 10}`; of a field given twice the last counts."""
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        inner = {f"{name}.{field}": leaf for field, leaf in dotted(value).items()} if isinstance(value, Mapping) else {}
        found |= inner if isinstance(value, Mapping) else {str(name): value}
    return found


def _merge(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _merge(values, [*path, name], inner)
        return
    for name in path[:-1]:
        section = values.setdefault(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{'.'.join(path)}: {name} is a value, not a section")
        values = section
    values[path[-1]] = value


def explain(error: ValidationError) -> str:
    """What pydantic refused, one problem a line: field, what it must be, value, way out."""
    return "\n".join(_explain(problem) for problem in error.errors())


def _explain(problem: Any) -> str:
    field, algorithm = _place(problem["loc"])
    value, kind = problem["input"], problem["type"]
    message = problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"{field} is not a field{algorithm and f' of {algorithm}'}; `fedsyn config` shows all fields"
    if kind == "missing":
        section, _, name = field.rpartition(".")
        return f"{section} needs {name}, got {value!r}"
    if kind == "union_tag_not_found":
        return f"{field} needs algorithm (one of {', '.join(_algorithms())}), got {value!r}"
    if kind == "union_tag_invalid":
        return f"{field}.algorithm must be one of {', '.join(_algorithms())}, got {value['algorithm']!r}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{field} must be a group of fields, got {value!r}; `fedsyn config` shows all fields"
    if kind == "value_error":
        return message if field == "experiment" else f"{field}: {message}"
    return f"{field} {message.replace('Input should be ', 'must be ', 1)}, got {value!r}"


def _place(location: Sequence[str | int]) -> tuple[str, str]:
    """The dotted field, and the server algorithm that pydantic puts after `server`; empty where there is none."""
    parts = [str(part) for part in location]
    algorithm = parts.pop(parts.index("server") + 1) if "server" in parts[:-1] else ""
    return ".".join(parts) or "experiment", algorithm


def _algorithms() -> list[str]:
    return [server.model_fields["algorithm"].default for server in get_args(Server)]
