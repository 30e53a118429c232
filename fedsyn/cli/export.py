"""`fedsyn export`: a run's model and its synthetic images, for other libraries."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fedsyn.artifacts import Manifest, Store
from fedsyn.cli.shared import (
    Assignments,
    Preset,
    StoreUrl,
    browse,
    console,
    experiment_of,
    find_data,
    named,
    parse,
    refuse,
)
from fedsyn.config import Experiment
from fedsyn.graph import REPORT, SYNTHESIS, nodes
from fedsyn.pipeline import keys
from fedsyn.presets import DEFAULT_PRESET

Key = Annotated[
    str | None,
    typer.Argument(help="Key, or its beginning, of a synthesis, retrain or report; instead of --preset, --set, --seed"),
]
To = Annotated[Path, typer.Option("--to", help="The folder to make: empty, or not there yet")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the run; default: the preset's")]


def export(
    to: To,
    key: Key = None,
    preset: Preset = DEFAULT_PRESET,
    assignments: Assignments = None,
    seed: Seed = None,
    store: StoreUrl = "artifacts",
) -> None:
    """Write the generative model of a finished run as a diffusers pipeline, and its synthetic images as a data set that
    Hugging Face datasets opens, into a new folder. Name the run as `fedsyn run` did, or by a key."""
    opened = browse(store)
    if key is not None:
        if (preset, assignments, seed) != (DEFAULT_PRESET, None, None):
            refuse("a run is named by a key or by --preset, --set and --seed, got both; leave one out")
        synthesis = _synthesis_of(opened, named(opened, key))
        command = ["fedsyn", "run", "..."]
    else:
        overrides = {name: value for name, value in parse(assignments).items() if not name.startswith("execution.")}
        given = overrides if seed is None else {**overrides, "seed": seed}
        experiment = experiment_of(preset, given)
        find_data(experiment)
        command = _run_command(preset, assignments or [], seed, store)
        synthesis = _synthesis_in(opened, experiment, command)

    from fedsyn.export import ExportError, open_run
    from fedsyn.export import export as write  # PyTorch and diffusers: only where there is something to export

    try:
        write(*open_run(opened, synthesis), to)
    except ExportError as error:
        way_out = "" if "--to" in str(error) else f"; `{shlex.join(command)}` makes what is missing"
        refuse(f"{error}{way_out}")
    except OSError as error:
        refuse(str(error))
    console.print(f"synthesis/{synthesis.key}, seed {synthesis.seed}", highlight=False)
    for name, what in (("model", "diffusers pipeline"), ("dataset", f"{synthesis.metrics['kept']:,.0f} images")):
        console.print(f"{to / name}: {what}; README.md there says how to load it", highlight=False, soft_wrap=True)


def _synthesis_of(store: Store, manifest: Manifest) -> Manifest:
    """The synthesis that an artifact is, or was made from."""
    if manifest.stage == SYNTHESIS.name:
        return manifest
    read = manifest.inputs.get(SYNTHESIS.name)
    if read is None:
        refuse(
            f"the key must be that of a synthesis, or of a retrain or report, which come from one, got that of "
            f"{manifest.stage}/{manifest.key}"
        )
    found = store.manifest(SYNTHESIS.name, read.key)
    if found is None or found.digest != read.digest:
        refuse(f"synthesis/{read.key} is not in the store as {manifest.stage}/{manifest.key} has read it; run again")
    return found


def _synthesis_in(store: Store, experiment: Experiment, command: list[str]) -> Manifest:
    """The synthesis of an experiment's run: that of its last cycle."""
    known, by_name = keys(experiment), {node.name: node for node in nodes(experiment)}
    synthesis = by_name[by_name[REPORT.name].inputs[SYNTHESIS.name]]
    found = store.manifest(SYNTHESIS.name, known[synthesis.name])
    if found is None:
        needed = [by_name[name] for name in (*synthesis.inputs.values(), synthesis.name)]
        missing = [node.name for node in needed if store.manifest(node.stage.name, known[node.name]) is None]
        refuse(f"the store has no {', '.join(missing)} of this run; `{shlex.join(command)}` makes what is missing")
    return found


def _run_command(preset: str, assignments: list[str], seed: int | None, store: str) -> list[str]:
    """The command whose run this one exports."""
    changes = [part for assignment in assignments for part in ("--set", assignment)]
    seeds = [] if seed is None else ["--seed", str(seed)]
    return ["fedsyn", "run", "--preset", preset, *changes, *seeds, "--store", store]
