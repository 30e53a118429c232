"""`fedsyn artifacts`: look into the store, check it, clean it, take things out of it."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.tree import Tree

from fedsyn.artifacts import Manifest, Store, StoreError
from fedsyn.artifacts.cleaning import Extent, clean
from fedsyn.artifacts.lineage import Ancestry, Identity
from fedsyn.artifacts.manifest import stage_of
from fedsyn.cli.shared import StoreUrl, browse, console, named, refuse
from fedsyn.graph import STAGES
from fedsyn.report.text import duration

app = typer.Typer(no_args_is_help=True, help="Look into the artifact store, check it, clean it.")

Key = Annotated[str, typer.Argument(help="The key of an artifact, or so much of its beginning that it is the only one")]


@app.command()
def ls(
    store: StoreUrl = "artifacts",
    stage: Annotated[str | None, typer.Option(help="Only artifacts of this stage")] = None,
) -> None:
    """List the artifacts, each with its main measurements."""
    known = [*(one.name for one in STAGES), "ablation"]
    if stage is not None and stage not in known:
        refuse(f"--stage must be one of {', '.join(known)}, got {stage!r}")
    manifests = sorted(browse(store).manifests(stage), key=lambda manifest: manifest.finished)
    row = "{:13}  {:24}  {:>5}  {:16}  {:>8}  {:>9}  {}"  # a table of rich's takes twenty seconds for ten thousand
    lines = [row.format("stage", "key", "seed", "finished, UTC", "took", "size", "measured")]
    for manifest in manifests:
        measured = "  ".join(f"{name} {value:.4g}" for name, value in list(manifest.metrics.items())[:3])
        moment, size = f"{manifest.finished:%Y-%m-%d %H:%M}", decimal(manifest.size)
        took = duration(manifest.seconds)
        lines.append(row.format(manifest.stage, manifest.key, manifest.seed, moment, took, size, measured))
    typer.echo("\n".join(lines))
    total = decimal(sum(manifest.size for manifest in manifests))
    typer.echo(f"{len(manifests)} artifacts, {total}")


@app.command()
def show(key: Key, store: StoreUrl = "artifacts") -> None:
    """Show all that is known of an artifact: settings, inputs, measurements, files, and who made it when on what."""
    opened = browse(store)
    manifest = named(opened, key)
    console.print(f"[bold]{manifest.stage}/{manifest.key}[/] in {opened.folder(manifest.stage, manifest.key)}")
    inputs = {name: read.key for name, read in manifest.inputs.items()}
    last = manifest.attempts[-1]
    facts = {
        "stage version": manifest.version,
        "seed": manifest.seed,
        "finished": f"{manifest.finished:%Y-%m-%d %H:%M:%S} UTC",
        "took": duration(manifest.seconds),
        "attempts": [f"{attempt.started:%Y-%m-%d %H:%M:%S} UTC" for attempt in manifest.attempts],
        "device": f"{last.device}, {last.threads} threads, engine {last.engine}",
        "settings": manifest.config,
        "inputs": inputs,
        "measured": manifest.metrics,
        "files": {file.name: decimal(file.size) for file in manifest.files},
        "libraries": last.libraries,
    }
    text = yaml.safe_dump({name: value for name, value in facts.items() if value not in ({}, None)}, sort_keys=False)
    console.print(escape(text), highlight=False, soft_wrap=True)


@app.command()
def lineage(key: Key, store: StoreUrl = "artifacts") -> None:
    """Show what an artifact was made from, and that from what, as a tree."""
    opened = browse(store)
    top = named(opened, key)
    shown: set[tuple[str, str]] = set()

    def grow(tree: Tree, manifest: Manifest) -> None:
        for name, read in manifest.inputs.items():
            place = (stage_of(name), read.key)
            found = opened.manifest(*place)
            again = place in shown
            shown.add(place)
            if found is None:
                note = "[red]not in the store[/]"
            elif found.digest != read.digest:
                note = "[red]has other bytes by now[/]"
            else:
                note = "[dim]see above[/]" if again else f"[dim]{duration(found.seconds)}[/]"
            branch = tree.add(f"{escape(name)} {read.key} {note}")
            if found is not None and not again:
                grow(branch, found)

    tree = Tree(f"[bold]{top.stage}[/] {top.key} [dim]{duration(top.seconds)}[/]")
    grow(tree, top)
    console.print(tree, highlight=False)


@app.command()
def diff(before: Key, after: Key, store: StoreUrl = "artifacts") -> None:
    """Show in what two artifacts of a stage differ: settings (their inputs' too), measurements, files."""
    opened = browse(store)
    one, other = named(opened, before), named(opened, after)
    if one.stage != other.stage:
        refuse(f"the artifacts must be of one stage, got {one.stage}/{one.key} and {other.stage}/{other.key}")
    ancestry = Ancestry(map(Identity.of, _ancestors(opened, [one, other])))
    table = Table("what", one.key[:12], other.key[:12], box=None, title_justify="left")
    for found in ancestry.differences(Identity.of(one), Identity.of(other)):
        table.add_row(escape(found.field), escape(str(found.before)), escape(str(found.after)))
    for name in {**one.metrics, **other.metrics}:
        values = [manifest.metrics.get(name) for manifest in (one, other)]
        if values[0] != values[1]:
            table.add_row(f"[dim]measured[/] {name}", *("" if value is None else f"{value:.6g}" for value in values))
    contents = [{file.name: file.sha256 for file in manifest.files} for manifest in (one, other)]
    for name in {**contents[0], **contents[1]}:
        hashes = [content.get(name, "") for content in contents]
        if hashes[0] != hashes[1]:
            table.add_row(f"[dim]file[/] {escape(name)}", *(value[:12] for value in hashes))
    console.print(table)


@app.command()
def verify(
    store: StoreUrl = "artifacts",
    heal: Annotated[
        bool, typer.Option("--quarantine", help="Move the damaged ones to quarantine/; the next run makes them again")
    ] = False,
) -> None:
    """Read every byte of every artifact and compare it with its manifest. Exit status 1 if one is damaged."""
    opened = browse(store)
    places = list(opened.names())
    damaged = 0
    for stage, key in track(places, "verifying", console=console, disable=not console.is_terminal, transient=True):
        try:
            fault = opened.check(stage, key)
        except StoreError as error:
            fault = str(error)
        if fault is not None:
            damaged += 1
            console.print(f"[red]{stage}/{key}[/]: {escape(fault)}", soft_wrap=True)
            if heal:
                opened.find(stage, key)
    console.print(f"{len(places)} artifacts, {damaged} damaged", highlight=False)
    if damaged:
        raise typer.Exit(1)


@app.command()
def gc(
    store: StoreUrl = "artifacts",
    keep_reachable: Annotated[
        bool, typer.Option("--keep-reachable", help="Also delete artifacts that no result and no running run needs")
    ] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also delete checkpoints that no process works on")
    ] = False,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Also delete damaged artifacts")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted")] = False,
) -> None:
    """Delete what killed runs have left behind, and what the options name. Nothing that a running stage or run holds is
    touched, and a report or an ablation keeps all that it comes from."""
    extent = Extent(unreachable=keep_reachable, checkpoints=checkpoints, quarantine=quarantine)
    opened = browse(store)
    found = clean(opened, extent, dry_run=dry_run)
    for leftover in found:
        place = leftover.path.relative_to(opened.root).as_posix()
        console.print(f"{place}: {leftover.why} ({decimal(leftover.size)})", highlight=False, soft_wrap=True)
    total = decimal(sum(leftover.size for leftover in found))
    console.print(f"{len(found)} {'would be deleted' if dry_run else 'deleted'}, {total}", highlight=False)


@app.command()
def copy(
    key: Key,
    folder: Annotated[Path, typer.Argument(help="A folder to make")],
    store: StoreUrl = "artifacts",
) -> None:
    """Copy an artifact's files, verified and as they are, into a new folder. (`fedsyn export` makes a model and a data
    set for other libraries.)"""
    opened = browse(store)
    manifest = named(opened, key)
    if folder.exists():
        refuse(f"the folder must not be there yet, got {folder}")
    artifact = opened.open(manifest)
    try:
        shutil.copytree(artifact.root, folder)
    except OSError as error:
        refuse(str(error))
    console.print(f"{len(manifest.files)} files, {decimal(manifest.size)}: {folder}", highlight=False, soft_wrap=True)


def _ancestors(store: Store, manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """The manifests and those of all that they come from, as far as they are in the store."""
    seen: set[tuple[str, str]] = set()
    waiting = list(manifests)
    while waiting:
        manifest = waiting.pop()
        yield manifest
        places = {(stage_of(name), read.key) for name, read in manifest.inputs.items()} - seen
        seen |= places
        waiting += [found for place in places if (found := store.manifest(*place)) is not None]
