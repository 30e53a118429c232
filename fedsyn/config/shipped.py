"""YAML files that come with a package, by name."""

from importlib.resources import files


class ConfigError(ValueError):
    """The experiment was refused; the message names field, value and way out, one problem a line."""


def shipped_names(package: str) -> list[str]:
    """The names of all YAML files of a package."""
    return sorted(path.name.removesuffix(".yaml") for path in files(package).iterdir() if path.name.endswith(".yaml"))


def shipped_text(package: str, name: str, kind: str) -> str:
    """The text of one of them, comments included. `kind`: what it is to be called in a refusal.

    Raises:
        ConfigError: there is no such file.
    """
    if name not in shipped_names(package):
        raise ConfigError(f"{kind} must be one of {', '.join(shipped_names(package))}, got {name!r}")
    return files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
