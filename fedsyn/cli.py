"""The command `fedsyn`. `run` is the only place in this package that knows a flow, and imports it only then."""

import os
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from fedsyn import __version__
from fedsyn.artifacts import Store, StoreError
from fedsyn.config import Execution, Experiment
from fedsyn.data.catalogue import DatasetError, locate
from fedsyn.pipeline import Result, resolve_device
from fedsyn.presets import (
    DEFAULT_PRESET,
    ConfigError,
    explain,
    load_experiment,
    parse_assignments,
    preset_names,
    preset_text,
)
from fedsyn.report.headline import headline_in_words
from fedsyn.report.seeds import seed_table
from fedsyn.terminal import StageProgress

EXPECTED = (ValueError, DatasetError, StoreError)
"""What bad input or a bad training raises: the message says it all, a traceback would hide it."""

GOES_ON = "Finished stages are in the store; the same command goes on from there."

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console()

Preset = Annotated[str, typer.Option(help="Experiment to start from; `fedsyn presets` lists them")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a field: synthesis.steps=10, execution.compile=true"),
]


def _version(asked: bool) -> None:
    if asked:
        console.print(f"fedsyn {__version__}", highlight=False)
        raise typer.Exit


@app.callback(help="Federated semi-supervised learning with diffusion-model-based data synthesis (DDSA-FSSL).")
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def run(
    preset: Preset = DEFAULT_PRESET,
    assignments: Assignments = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed; repeat the option for several runs and their mean")
    ] = None,
    store: Annotated[str, typer.Option(help="Folder of the artifact store")] = "artifacts",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads inside an operation on a CPU; default: all cores")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="How clients are trained: auto, sequential, processes, vectorized or ray")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Workers of processes and ray; default: one a core, or one a GPU of several")
    ] = None,
) -> None:
    """Run the whole method, from the data set to the report. What the store already holds is not computed again."""
    overrides = _parse(assignments)
    try:
        opened = Store(store)
        options: dict[str, object] = {"store": store, "device": device, "threads": threads}
        options |= {"engine": engine, "workers": workers}
        more = [name for name in overrides if name.startswith("execution.")]
        options |= {name.removeprefix("execution."): overrides.pop(name) for name in more}
        execution = Execution.model_validate(options)
        if device.startswith("cuda"):  # asking costs PyTorch's import, which a cached run does without
            resolve_device(device)
    except ValidationError as error:
        _refuse(explain(error))
    except (ValueError, StoreError) as error:
        _refuse(str(error))
    seeds = seed or [_experiment(preset, overrides).seed]
    experiments = {value: _experiment(preset, {**overrides, "seed": value}) for value in seeds}
    _find_data(next(iter(experiments.values())))

    flow = _prepare_flow()
    reports: dict[int, Mapping[str, float]] = {}
    for value in experiments:
        console.rule(f"[bold]{preset}[/], seed {value}", align="left")
        with StageProgress(console) as progress:
            try:
                results = flow(preset=preset, overrides={**overrides, "seed": value}, execution=execution)
            except EXPECTED as error:
                progress.stop()
                _refuse(f"{error}\n{GOES_ON}")
            except Exception:
                progress.stop()
                console.print_exception()
                _refuse(GOES_ON)
        reports[value] = results["report"].manifest.metrics
        _print_stages(results)
        _print_table("Result", headline_in_words(reports[value]))
        page = opened.folder("report", results["report"].manifest.key) / "report.html"
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if len(reports) > 1:
        _print_table(f"{preset}: mean over {len(reports)} seeds, with its 95 % interval", seed_table(reports))


@app.command()
def config(preset: Preset = DEFAULT_PRESET, assignments: Assignments = None) -> None:
    """Show the experiment that a preset and its overrides give, every field of it."""
    experiment = _experiment(preset, _parse(assignments))
    _print_yaml(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


@app.command()
def presets() -> None:
    """List the presets and what they say about themselves."""
    table = Table("preset", "what it is", box=None)
    for name in preset_names():
        about = [line.removeprefix("#").strip() for line in preset_text(name).splitlines() if line.startswith("#")]
        table.add_row(name, " ".join(about))
    console.print(table)


def _prepare_flow():  # type: ignore[no-untyped-def]
    """The flow, imported late: Prefect reads these settings when it is imported. The user's own ones win."""
    settings = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "150",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "fedsyn",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    with console.status("Starting Prefect (ten to thirty seconds the first time)"):
        from flows.ddsa_fssl import ddsa_fssl
    return ddsa_fssl


def _experiment(preset: str, overrides: Mapping[str, object]) -> Experiment:
    try:
        return load_experiment(preset, overrides)
    except ConfigError as error:
        _refuse(str(error))


def _parse(assignments: list[str] | None) -> dict[str, object]:
    try:
        return parse_assignments(assignments or [])
    except ConfigError as error:
        _refuse(str(error))


def _find_data(experiment: Experiment) -> None:
    try:
        locate(experiment.dataset)
    except DatasetError as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def _print_stages(results: Mapping[str, Result]) -> None:
    table = Table("stage", "artifact", "state", "seconds", box=None, title="Stages", title_justify="left")
    table.columns[-1].justify = "right"
    for name, result in results.items():
        state = "Cached" if result.cached else "Completed"
        seconds = "" if result.cached else f"{result.manifest.seconds:.1f}"
        table.add_row(name, result.manifest.key, state, seconds)
    console.print(table)


def _print_table(title: str, rows: Mapping[str, str]) -> None:
    table = Table("quantity", "value", box=None, title=title, title_justify="left")
    table.columns[-1].justify = "right"
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _print_yaml(text: str) -> None:
    console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text, end="")
