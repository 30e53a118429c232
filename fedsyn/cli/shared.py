"""What all commands share: the console, common options, and how bad input is refused."""

import gc
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from fedsyn.artifacts import Manifest, Store, open_store
from fedsyn.config import Experiment
from fedsyn.data.catalogue import DatasetError, locate
from fedsyn.presets import ConfigError, load_experiment, parse_assignments

console = Console()

Preset = Annotated[str, typer.Option(help="Experiment to start from; `fedsyn presets` lists them")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field: synthesis.steps=10, execution.compile=true; or those of a YAML file: @mine.yaml",
    ),
]
StoreUrl = Annotated[
    str, typer.Option("--store", help="The artifact store: a folder, or a URL like s3://bucket/folder")
]


def refuse(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong and leave."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def parse(assignments: list[str] | None) -> dict[str, object]:
    """The overrides of `--set`."""
    try:
        return parse_assignments(assignments or [])
    except ConfigError as error:
        refuse(str(error))


def experiment_of(preset: str, overrides: Mapping[str, object]) -> Experiment:
    """The experiment that was asked for."""
    try:
        return load_experiment(preset, overrides)
    except ConfigError as error:
        refuse(str(error))


def find_data(experiment: Experiment) -> None:
    """Refuse a data set that is not on this machine."""
    try:
        locate(experiment.dataset)
    except DatasetError as error:
        refuse(str(error))


def browse(store: str) -> Store:
    """The store that was named, for a command that reads manifests and ends."""
    gc.disable()  # with ten thousand manifests it would take a second, and free nothing
    return open_store(store)


def named(store: Store, key: str) -> Manifest:
    """The one artifact whose key, or stage/key, begins like `key`."""
    found = [place for place in store.names() if key and (place[1].startswith(key) or "/".join(place).startswith(key))]
    if not found:
        refuse(f"no artifact has a key that begins with {key!r}; `fedsyn artifacts ls` lists them")
    if len(found) > 1:
        names = ", ".join("/".join(place) for place in found[:3])
        refuse(f"{len(found)} artifacts have a key that begins with {key!r} ({names}, ...); give more of it")
    manifest = store.manifest(*found[0])
    if manifest is None:
        refuse(f"the manifest of {'/'.join(found[0])} is damaged; the next run that needs it makes it again")
    return manifest
