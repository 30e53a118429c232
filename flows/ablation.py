"""A batch of runs: every arm of a study with each of its seeds, gathered into one table."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import httpx
import yaml
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelling
from pydantic import Field

from fedsyn import interruption
from fedsyn.ablation import Run, Study, keys_of_each_run, make_study, plan_study, study_names, study_text
from fedsyn.artifacts import Manifest, Store
from fedsyn.config import Execution
from fedsyn.config.overrides import ExecutionOverrides, Overrides
from fedsyn.interruption import Interrupted
from fedsyn.pipeline import store_of
from fedsyn.presets import dotted, preset_names
from fedsyn.report.text import duration
from flows.ddsa_fssl import ddsa_fssl
from flows.places import refuse_other_places
from tasks.gather import show_gathered
from tasks.showing import shown

AT_ONCE = 32
"""Runs that wait for workers or are carried out at the same time. How many compute is the pool's and workers' limit."""

POLL = 3.0
"""Seconds between two looks at the runs on workers."""

logger = logging.getLogger("fedsyn.ablation")

Where = Literal["here", "gpu-pool"]
Seeds = tuple[int, ...]
Values = dict[str, list[Any]]
Arms = dict[str, dict[str, Any]]


class RunsFailed(Exception):
    """Some runs of a batch failed; what the others have measured is gathered in `manifest`'s artifact."""

    def __init__(self, message: str, manifest: Manifest) -> None:
        super().__init__(message)
        self.manifest = manifest


def batch_name() -> str:
    """`digits-guidance`, say."""
    return str(flow_run.parameters["study"])


@flow(name="ablation", flow_run_name=batch_name, persist_result=False)
def ablation(
    study: str = "digits-guidance",
    seeds: Seeds = (),
    grid: Values = {},  # noqa: B006 (never changed)
    arms: Arms = {},  # noqa: B006
    where: Where = "here",
    preset: Annotated[str, Field(json_schema_extra={"enum": ["", *preset_names()]})] = "",
    overrides: Overrides = Overrides(),  # noqa: B008 (frozen)
    execution: ExecutionOverrides = ExecutionOverrides(),  # noqa: B008 (frozen)
) -> Manifest:
    """Run every arm of a study with each of its seeds, and compare them. Stages that arms share are computed once.

    Args:
        study: Name of a study of the package (`fedsyn ablate` lists them), or of a new one that the fields below
            describe. What they leave empty is the study's.
        seeds: Every arm is run with each of them.
        grid: Dotted field to its values, every combination is an arm: {"synthesis.guidance_scale": [1, 2]}.
        arms: Name of an arm to the fields that make it; with a grid, each is run at every point of it.
        where: `here`, in one process, for runs of seconds; `gpu-pool`, by that pool's workers, for longer ones.
        preset: Experiment that every arm starts from.
        overrides: Fields that differ from the preset in every arm, besides the study's own.
        execution: Device, engine and threads; what is left empty is the worker's own setting.
    """
    changes = {"seeds": list(seeds), "grid": grid, "arms": arms, "preset": preset}
    return carry_out(compose(study, changes, overrides.given()), execution, where)


def compose(name: str, changes: Mapping[str, Any], overrides: Mapping[str, Any]) -> Study:
    """The study of the package that has this name, with `changes` in place of its fields where they are not empty, and
    `overrides` over its own; or a new one, which `changes` describe.

    Raises:
        ConfigError: there is no such study and neither a grid nor arms describe one, or a field is wrong.
    """
    given = {field: value for field, value in changes.items() if value}
    is_new = name not in study_names() and given.keys() & {"grid", "arms"}
    values: dict[str, Any] = {"name": name} if is_new else yaml.safe_load(study_text(name))
    common = dotted(values.get("overrides") or {}) | dotted(overrides)
    return make_study({**values, **given, "overrides": common})


@flow(name="ablation", flow_run_name="{study.name}", persist_result=False)
def run_study(
    study: Study,
    execution: ExecutionOverrides = ExecutionOverrides(),  # noqa: B008 (frozen)
    where: Where = "here",
) -> Manifest:
    """`ablation`, for a study that was read from a file or made in Python."""
    return carry_out(study, execution, where)


def carry_out(study: Study, execution: ExecutionOverrides, where: Where) -> Manifest:
    """Run a study; the manifest of its artifact.

    Raises:
        ConfigError: an arm is no valid experiment (all of them are named); nothing has been run.
        RunsFailed: some runs failed; the others are gathered all the same.
        Interrupted: a signal asked to stop. What is done is kept.
    """
    runs = study.runs()
    if deployment.id:
        for run in runs:
            refuse_other_places(run.experiment, execution.given())
    here = Execution.on(os.environ, execution.given())
    store, keys = store_of(here), keys_of_each_run(runs)
    _show_plan(study, runs, keys, store)

    reports = {(run.arm, run.seed): known["report"] for run, known in zip(runs, keys, strict=True)}
    with interruption.listening():
        if where == "here":
            failures = _run_here(runs, study.preset, execution)
        else:
            missing = [run for run in runs if store.manifest("report", reports[run.arm, run.seed]) is None]
            logger.info("%d of %d runs have their reports in the store", len(runs) - len(missing), len(runs))
            failures = _run_on_workers(missing, study.preset, execution.given())

    found = {name: store.manifest("report", key) for name, key in reports.items() if name not in failures}
    done = {name: manifest for name, manifest in found.items() if manifest is not None}
    failures |= dict.fromkeys(found.keys() - done.keys(), "its report is not in the store that this flow sees")
    artifact = show_gathered(store, study, runs, done, failures)
    if failures:
        lines = [f"{arm}, seed {seed}: {message}" for (arm, seed), message in failures.items()]
        raise RunsFailed(f"{len(failures)} of {len(runs)} runs failed\n" + "\n".join(lines), artifact.manifest)
    return artifact.manifest


def _show_plan(study: Study, runs: Sequence[Run], keys: Sequence[Mapping[str, str]], store: Store) -> None:
    """How many artifacts each stage needs, as a table in Prefect's UI, before anything runs."""
    rows = [
        {
            "stage": count.stage,
            "artifacts": count.artifacts,
            "new": count.new,
            "cached": count.cached,
            "shared by runs": count.shared,
            "may take": duration(count.seconds),
        }
        for count in plan_study(runs, keys, store)
    ]
    what = f"{study.name}: {len(runs)} runs, {len(study.changes())} arms with {len(study.seeds)} seeds"
    with shown("the plan"):
        create_table_artifact(rows, key="ablation-plan", description=what)


def _run_here(runs: Sequence[Run], preset: str, execution: ExecutionOverrides) -> dict[tuple[str, int], str]:
    """One subflow after the other; why some failed."""
    failures = {}
    for number, run in enumerate(runs, start=1):
        interruption.check()
        logger.info("%s, seed %d (%d of %d)", run.arm, run.seed, number, len(runs))
        state = ddsa_fssl(preset=preset, overrides=run.overrides, execution=execution, return_state=True)
        if not state.is_completed():
            error = state.result(raise_on_failure=False)
            if isinstance(error, Interrupted):
                raise error
            failures[run.arm, run.seed] = str(error)
            logger.error("%s, seed %d failed: %s", run.arm, run.seed, error)
    return failures


def _run_on_workers(runs: Sequence[Run], preset: str, execution: Mapping[str, Any]) -> dict[tuple[str, int], str]:
    """Runs of the preset's deployment, as the pool's workers take them; why some failed. If this flow is stopped, so
    are they."""
    waiting, flying, failures = list(runs), dict[UUID, Run](), dict[tuple[str, int], str]()
    with get_client(sync_client=True) as client:
        try:
            while waiting or flying:
                interruption.check()
                if waiting and len(flying) < AT_ONCE:
                    run = waiting.pop(0)
                    flying[_submit(run, preset, execution)] = run
                    continue
                time.sleep(POLL)
                for number in list(flying):
                    if (message := _ending(client, number)) is not None:
                        run = flying.pop(number)
                        if message:
                            failures[run.arm, run.seed] = message
        except BaseException:
            for number in flying:
                with suppress(Exception):  # the others are to be stopped all the same
                    client.set_flow_run_state(number, Cancelling())
            raise
    return failures


def _ending(client: SyncPrefectClient, flow_run_id: UUID) -> str | None:
    """Why a run did not complete; empty if it did, None if it has not ended."""
    try:
        state = client.read_flow_run(flow_run_id).state
    except httpx.TransportError as error:  # the server may be starting again
        logger.warning("cannot ask for run %s: %s", flow_run_id, error)
        return None
    except ObjectNotFound:
        return "its run was deleted"
    if state is None or not state.is_final():
        return None
    return "" if state.is_completed() else state.message or str(state.name)


def _submit(run: Run, preset: str, execution: Mapping[str, Any]) -> UUID:
    """Ask for a run of the preset's deployment; its id."""
    submitted = run_deployment(
        f"ddsa-fssl/{preset}",
        parameters={"preset": preset, "overrides": run.overrides, "execution": dict(execution)},
        flow_run_name=f"{run.arm} seed={run.seed}",
        timeout=0,
    )
    return cast(FlowRun, submitted).id
