"""Studies that come with the package, as YAML, and those that a user has written."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fedsyn.ablation.study import Study
from fedsyn.config.shipped import shipped_names, shipped_text
from fedsyn.presets import ConfigError, explain


def study_names() -> list[str]:
    """The names of all studies of the package."""
    return shipped_names(__name__)


def study_text(name: str) -> str:
    """The YAML of a study of the package, with its comments.

    Raises:
        ConfigError: there is no such study.
    """
    return shipped_text(__name__, name, "study")


def load_study(name_or_path: str) -> Study:
    """The study of this name, or of this YAML file.

    Raises:
        ConfigError: there is none, it is no YAML, or a field of it is wrong.
    """
    path, known = Path(name_or_path).expanduser(), name_or_path in study_names()
    if not known and not path.is_file():
        raise ConfigError(
            f"study must be one of {', '.join(study_names())} or the path of a YAML file that is there, "
            f"got {name_or_path!r}"
        )
    try:
        values = yaml.safe_load(study_text(name_or_path) if known else path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeError) as error:
        raise ConfigError(f"study {name_or_path} cannot be read as YAML: {error}") from error
    return make_study(values)


def make_study(values: Any) -> Study:
    """The study of these plain values.

    Raises:
        ConfigError: they are none.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"a study must be a group of fields ({', '.join(Study.model_fields)}), got {values!r}")
    if unknown := [str(name) for name in values if name not in Study.model_fields]:
        raise ConfigError(f"{unknown[0]} is not a field of a study; those are {', '.join(Study.model_fields)}")
    if "name" not in values:
        raise ConfigError("a study needs a name (small letters, digits and hyphens); write name: my-study")
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
