"""`fedsyn run`: a flow, imported when the command is called."""

import time
from collections.abc import Mapping

from rich.table import Table

from fedsyn.cli.running import Device, Engine, Seeds, Threads, Workers, carried_out, execution_of, starting_prefect
from fedsyn.cli.shared import Assignments, Preset, StoreUrl, console, experiment_of, find_data, parse
from fedsyn.graph import RETRAIN
from fedsyn.pipeline import Result
from fedsyn.presets import DEFAULT_PRESET
from fedsyn.report.headline import headline_in_words
from fedsyn.report.seeds import seed_table
from fedsyn.report.text import percent, time_in_words


def run(
    preset: Preset = DEFAULT_PRESET,
    assignments: Assignments = None,
    seed: Seeds = None,
    store: StoreUrl = "artifacts",
    device: Device = "auto",
    threads: Threads = None,
    engine: Engine = "auto",
    workers: Workers = None,
) -> None:
    """Run the whole method, from the data set to the report. What the store already holds is not computed again."""
    overrides = parse(assignments)
    execution, opened = execution_of(
        overrides, store=store, device=device, threads=threads, engine=engine, workers=workers
    )
    seeds = seed or [experiment_of(preset, overrides).seed]
    experiments = {value: experiment_of(preset, {**overrides, "seed": value}) for value in seeds}
    find_data(next(iter(experiments.values())))

    with starting_prefect():
        from flows.ddsa_fssl import ddsa_fssl
    reports: dict[int, Mapping[str, float]] = {}
    for value in experiments:
        console.rule(f"[bold]{preset}[/], seed {value}", align="left")
        began = time.monotonic()
        with carried_out():
            changed = {**overrides, "seed": value}
            results = ddsa_fssl(preset=preset, overrides=changed, execution=execution)  # type: ignore[call-overload]
        reports[value] = results["report"].manifest.metrics
        _print_stages(results)
        in_stages = sum(result.seconds for result in results.values())
        console.print(f"time: {time_in_words(time.monotonic() - began, in_stages)}", highlight=False)
        _print_table("Result", headline_in_words(reports[value]) | accuracy_by_cycle(results))
        page = opened.folder("report", results["report"].manifest.key) / "report.html"
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if len(reports) > 1:
        _print_table(f"{preset}: mean over {len(reports)} seeds, with its 95 % interval", seed_table(reports))


def _print_stages(results: Mapping[str, Result]) -> None:
    table = Table("stage", "artifact", "state", "seconds", box=None, title="Stages", title_justify="left")
    table.columns[-1].justify = "right"
    for name, result in results.items():
        state = "Cached" if result.cached else "Completed"
        seconds = "" if result.cached else f"{result.manifest.seconds:.1f}"
        table.add_row(name, result.manifest.key, state, seconds)
    console.print(table)


def accuracy_by_cycle(results: Mapping[str, Result]) -> dict[str, str]:
    """The test accuracy after each cycle, where there are several."""
    manifests = [result.manifest for result in results.values() if result.manifest.stage == RETRAIN.name]
    accuracies = [percent(manifest.metrics["test_accuracy"], 2) for manifest in manifests]
    if len(accuracies) == 1:
        return {}
    return {f"accuracy after cycle {cycle}": accuracy for cycle, accuracy in enumerate(accuracies, start=1)}


def _print_table(title: str, rows: Mapping[str, str]) -> None:
    table = Table("quantity", "value", box=None, title=title, title_justify="left")
    table.columns[-1].justify = "right"
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
