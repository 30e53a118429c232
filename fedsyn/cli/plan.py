"""`fedsyn plan`: what a run would find and what it would compute, and why."""

from rich.markup import escape
from rich.table import Table

from fedsyn.cli.shared import Assignments, Preset, StoreUrl, browse, console, experiment_of, find_data, parse
from fedsyn.data.catalogue import fingerprint
from fedsyn.pipeline import keys
from fedsyn.plan import plan as planned
from fedsyn.presets import DEFAULT_PRESET
from fedsyn.report.text import duration


def plan(preset: Preset = DEFAULT_PRESET, assignments: Assignments = None, store: StoreUrl = "artifacts") -> None:
    """Show, for every stage, whether `fedsyn run` would find it in the store, and if not, why: the fields in which the
    nearest artifact, or what that comes from, differs; and what that took."""
    overrides = {name: value for name, value in parse(assignments).items() if not name.startswith("execution.")}
    experiment = experiment_of(preset, overrides)
    find_data(experiment)
    steps = planned(experiment, keys(experiment), fingerprint(experiment.dataset), browse(store))
    table = Table("stage", "artifact", "state", "took", "why", box=None)
    for step in steps:
        state = "[green]cached[/]" if step.cached else "[yellow]would run[/]"
        table.add_row(step.node, step.key[:12], state, duration(step.seconds), escape(step.why))
    console.print(table)
    ahead = [step for step in steps if not step.cached]
    if not ahead:
        console.print(f"All {len(steps)} stages are in the store.", highlight=False)
        return
    console.print(f"{len(ahead)} of {len(steps)} stages would run.", highlight=False)
