"""`fedsyn run`. The only place in this package that knows a flow; it imports it late."""

import os
from collections.abc import Mapping
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from fedsyn.artifacts import StoreError
from fedsyn.cli.shared import (
    Assignments,
    Preset,
    StoreUrl,
    console,
    experiment_of,
    find_data,
    parse,
    refuse,
)
from fedsyn.config import Execution
from fedsyn.data.catalogue import DatasetError
from fedsyn.interruption import EXIT_CODE, Interrupted
from fedsyn.pipeline import Result, resolve_device, store_of
from fedsyn.presets import DEFAULT_PRESET, explain
from fedsyn.report.headline import headline_in_words
from fedsyn.report.seeds import seed_table
from fedsyn.terminal import StageProgress

EXPECTED = (ValueError, DatasetError, StoreError)
"""What bad input or a bad training raises: the message says it all, a traceback would hide it."""

GOES_ON = "Finished stages are in the store; the same command goes on from there."


def run(
    preset: Preset = DEFAULT_PRESET,
    assignments: Assignments = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed; repeat the option for several runs and their mean")
    ] = None,
    store: StoreUrl = "artifacts",
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
    overrides = parse(assignments)
    try:
        options: dict[str, object] = {"store": store, "device": device, "threads": threads}
        options |= {"engine": engine, "workers": workers}
        more = [name for name in overrides if name.startswith("execution.")]
        options |= {name.removeprefix("execution."): overrides.pop(name) for name in more}
        execution = Execution.model_validate(options)
        opened = store_of(execution)
        if device.startswith("cuda"):  # asking costs PyTorch's import, which a cached run does without
            resolve_device(device)
    except ValidationError as error:
        refuse(explain(error))
    except (ValueError, StoreError) as error:
        refuse(str(error))
    seeds = seed or [experiment_of(preset, overrides).seed]
    experiments = {value: experiment_of(preset, {**overrides, "seed": value}) for value in seeds}
    find_data(next(iter(experiments.values())))

    flow = _prepare_flow()
    reports: dict[int, Mapping[str, float]] = {}
    for value in experiments:
        console.rule(f"[bold]{preset}[/], seed {value}", align="left")
        with StageProgress(console) as progress:
            try:
                results = flow(preset=preset, overrides={**overrides, "seed": value}, execution=execution)
            except Interrupted as error:
                progress.stop()
                refuse(str(error), EXIT_CODE)
            except EXPECTED as error:
                progress.stop()
                refuse(f"{error}\n{GOES_ON}")
            except Exception:
                progress.stop()
                console.print_exception()
                refuse(GOES_ON)
        reports[value] = results["report"].manifest.metrics
        _print_stages(results)
        _print_table("Result", headline_in_words(reports[value]))
        page = opened.folder("report", results["report"].manifest.key) / "report.html"
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if len(reports) > 1:
        _print_table(f"{preset}: mean over {len(reports)} seeds, with its 95 % interval", seed_table(reports))


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
        from flows.own_server import start_own_server

        start_own_server()
    return ddsa_fssl


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
