"""`fedsyn ablate`: a study, planned and run; a flow, imported when the command is called."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedsyn.ablation import Run, StageCount, Study, load_study, make_study, study_names, study_text
from fedsyn.ablation.fields import plain
from fedsyn.ablation.planning import keys_of_each_run, plan_study
from fedsyn.artifacts import Artifact
from fedsyn.cli.running import Device, Engine, Seeds, Threads, Workers, carried_out, execution_of, starting_prefect
from fedsyn.cli.shared import Assignments, StoreUrl, console, find_data, parse, refuse
from fedsyn.presets import ConfigError
from fedsyn.report.text import duration


def ablate(
    study: Annotated[
        str | None,
        typer.Argument(help="A study of the package, or the path of a YAML file; without it they are listed"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be computed")] = False,
    assignments: Assignments = None,
    seed: Seeds = None,
    store: StoreUrl = "artifacts",
    device: Device = "auto",
    threads: Threads = None,
    engine: Engine = "auto",
    workers: Workers = None,
) -> None:
    """Run the arms of a study with the same seeds and compare them. What arms have in common is computed once, and what
    the store already holds not at all. Exit status 1 if a run failed; the others are compared all the same."""
    if study is None:
        _list_studies()
        return
    overrides = parse(assignments)
    execution, opened = execution_of(
        overrides, store=store, device=device, threads=threads, engine=engine, workers=workers
    )
    chosen, runs = _study_of(study, overrides, seed)
    for experiment in {run.experiment.dataset: run.experiment for run in runs}.values():
        find_data(experiment)

    _print_arms(chosen, runs)
    _print_plan(plan_study(runs, keys_of_each_run(runs), opened))
    if plan:
        return
    with starting_prefect():
        from flows.ablation import RunsFailed, run_study
    with carried_out():
        try:
            manifest = run_study(chosen, execution)  # type: ignore[call-overload]  # Prefect reads plain values
        except RunsFailed as error:
            manifest = error.manifest
        result = opened.open(manifest)
    if failures := _print_result(chosen, result):
        refuse(
            "\n".join([f"{len(failures)} of {len(runs)} runs failed; the same command tries them again:", *failures]), 1
        )


def _study_of(name: str, overrides: dict[str, object], seeds: list[int] | None) -> tuple[Study, list[Run]]:
    """The study as the options change it, and its runs."""
    try:
        study = load_study(name)
        changed = {"overrides": study.overrides | overrides, "seeds": seeds or study.seeds}
        study = make_study(study.model_dump() | changed)
        return study, study.runs()
    except ConfigError as error:
        refuse(str(error))


def _list_studies() -> None:
    table = Table("study", "what it asks", box=None)
    for name in study_names():
        lines = study_text(name).splitlines()
        table.add_row(name, escape(" ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))))
    console.print(table)
    console.print("`fedsyn ablate STUDY --plan` says what one would compute; docs/ablation.md says how to write one.")


def _print_arms(study: Study, runs: Sequence[Run]) -> None:
    arms = study.changes()
    seeds = ", ".join(map(str, study.seeds))
    console.print(f"[bold]{study.name}[/]: preset {study.preset}, {len(arms)} arms, seeds {seeds}: {len(runs)} runs")
    table = Table("arm", "what it changes", box=None)
    for arm, fields in arms:
        table.add_row(escape(arm), escape(", ".join(f"{field}={plain(value)}" for field, value in fields.items())))
    console.print(table)


def _print_plan(counts: Sequence[StageCount]) -> None:
    table = Table("stage", "artifacts", "cached", "new", "shared", "new ones take about", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for count in counts:
        numbers = [str(number) for number in (count.artifacts, count.cached, count.new, count.shared)]
        table.add_row(count.stage, *numbers, duration(count.seconds) if count.new else "")
    console.print(table)
    needed, new = sum(count.needed for count in counts), sum(count.new for count in counts)
    artifacts = sum(count.artifacts for count in counts)
    known = [count.seconds for count in counts if count.seconds is not None]
    time = f", about {duration(sum(known))}" if new and len(known) == len(counts) else ""
    console.print(
        f"{needed} stages in all are {artifacts} artifacts; {new} of them would be made{time}.", highlight=False
    )


def _print_result(study: Study, result: Artifact) -> list[str]:
    """The table and where the rest lies; returns a line for each run that failed."""
    from fedsyn.ablation.table import INTERVALS, failed, header, rows

    summary = result.read_table("summary")
    table = Table(*map(escape, header(summary)), box=None, title=study.name, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for cells in rows(summary):
        table.add_row(*map(escape, cells))
    console.print(table)
    console.print(INTERVALS, style="dim", highlight=False)
    for name in ("runs.parquet", "figures/accuracy.png"):
        console.print(f"{result.root / name}", soft_wrap=True, highlight=False)
    return failed(result.read_table("failures"))
