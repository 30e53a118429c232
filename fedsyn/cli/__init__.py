"""The command `fedsyn`."""

from typing import Annotated, Any

import typer
import yaml
from rich.syntax import Syntax
from rich.table import Table
from typer.core import TyperGroup

from fedsyn import __version__
from fedsyn.artifacts import StoreError
from fedsyn.cli import ablate, artifacts, export, plan, run, up
from fedsyn.cli.shared import Assignments, Preset, console, experiment_of, parse, refuse
from fedsyn.presets import DEFAULT_PRESET, preset_names, preset_text


class Commands(TyperGroup):
    """The commands; a store that cannot be used is bad input to any of them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except StoreError as error:
            refuse(str(error))


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


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


app.command()(run.run)
app.command()(plan.plan)
app.command()(ablate.ablate)
app.command()(export.export)
app.command()(up.up)


@app.command()
def config(preset: Preset = DEFAULT_PRESET, assignments: Assignments = None) -> None:
    """Show the experiment that a preset and its overrides give, every field of it."""
    experiment = experiment_of(preset, parse(assignments))
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text, end="")


@app.command()
def presets() -> None:
    """List the presets and what they say about themselves."""
    table = Table("preset", "what it is", box=None)
    for name in preset_names():
        about = [line.removeprefix("#").strip() for line in preset_text(name).splitlines() if line.startswith("#")]
        table.add_row(name, " ".join(about))
    console.print(table)


app.add_typer(artifacts.app, name="artifacts")
