"""DDSA-FSSL as a Prefect flow: the stages of the method in plain order."""

import os
import time
from collections.abc import Mapping
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import deployment, flow_run
from prefect.states import State
from pydantic import Field

from fedsyn.ablation.fields import plain, short_name
from fedsyn.config import Execution, Experiment, Partition
from fedsyn.config.overrides import ExecutionOverrides, Overrides
from fedsyn.graph import node_name
from fedsyn.pipeline import Result, running
from fedsyn.presets import DEFAULT_PRESET, ConfigError, dotted, load_experiment, preset_names
from fedsyn.report.text import shorten, time_in_words
from flows.places import refuse_other_places
from tasks.autoencoder import autoencoder
from tasks.bounds import bounds
from tasks.classifier import classifier
from tasks.dataset import dataset
from tasks.denoiser import denoiser
from tasks.judge import judge
from tasks.latents import latents
from tasks.partition import partition
from tasks.pseudo_labels import pseudo_labels
from tasks.quality import quality
from tasks.report import report
from tasks.retrain import retrain
from tasks.selection import selection
from tasks.self_training import self_training
from tasks.showing import shown
from tasks.synthesis import synthesis

Preset = Annotated[str, Field(json_schema_extra={"enum": list(preset_names())})]


NAMED = {"seed", "dataset.name", "partition.labeled_fraction"} | {
    f"partition.{prefix}{pool}" for prefix in ("", "alpha_") for pool in ("labeled", "unlabeled")
}
"""Fields that the first words of a run's name say."""


def run_name() -> str:
    """The name of the run at hand; the preset's where its fields are wrong, which the flow is about to say."""
    preset, overrides = (flow_run.parameters[name] for name in ("preset", "overrides"))
    try:
        return name_of(preset, Overrides.model_validate(overrides).given())
    except ConfigError:
        return str(preset)


def name_of(preset: str, overrides: Mapping[str, Any]) -> str:
    """`cifar10 a=0.1 l=10% seed=3 guidance_scale=2.0`, say: what everybody asks, then what was overridden besides."""
    experiment = load_experiment(preset, overrides)
    parts = [experiment.dataset.name, skew(experiment.partition)]
    parts += [f"l={100 * experiment.partition.labeled_fraction:.3g}%", f"seed={experiment.seed}"]
    parts += [f"{short_name(field)}={plain(value)}" for field, value in dotted(overrides).items() if field not in NAMED]
    return shorten(" ".join(parts), 80)


def skew(partition: Partition) -> str:
    """The Dirichlet concentrations in few letters: `a=0.1`, `a=0.1/iid` for labelled and unlabelled images."""
    pools = (
        (partition.labeled, partition.alpha_labeled),
        (partition.unlabeled, partition.alpha_unlabeled),
    )
    both = dict.fromkeys("iid" if spread == "iid" else f"{alpha:g}" for spread, alpha in pools)
    return f"a={'/'.join(both)}"


@flow(name="ddsa-fssl", flow_run_name=run_name, persist_result=False)
def ddsa_fssl(
    preset: Preset = DEFAULT_PRESET,
    overrides: Overrides = Overrides(),  # noqa: B008 (frozen)
    execution: ExecutionOverrides = ExecutionOverrides(),  # noqa: B008 (frozen)
) -> dict[str, Result]:
    """Run every stage of the method, or find its artifact in the store.

    Args:
        preset: Name of the experiment to start from: see `fedsyn presets`.
        overrides: Fields that differ from the preset, nested or dotted: {"synthesis.guidance_scale": 2.0}.
        execution: Device, engine and threads: how the run is carried out. What is left empty is the worker's own
            setting (FEDSYN_DEVICE, FEDSYN_THREADS, ...). Another device, number of threads or engine may change
            results by rounding, nothing else does.
    """
    experiment = load_experiment(preset, overrides.given())
    if deployment.id:
        refuse_other_places(experiment, execution.given())
    here = Execution.on(os.environ, execution.given())
    began = time.monotonic()
    with running(experiment, here):
        results = chain(experiment, here)
    show_time(results, time.monotonic() - began)
    return results


def show_time(results: Mapping[str, Result], total: float) -> None:
    """Where the time went, as a table in Prefect's UI."""
    rows = [
        {"stage": name, "state": "Cached" if result.cached else "Completed", "seconds": round(result.seconds, 1)}
        for name, result in results.items()
    ]
    in_stages = sum(result.seconds for result in results.values())
    with shown("where the time went"):
        create_table_artifact(rows, key="time", description=time_in_words(total, in_stages))


def chain(experiment: Experiment, execution: Execution) -> dict[str, Result]:
    """The stages as tasks, one after the other, each called with the states of its inputs. Results are by node.

    Independent stages are independent in the graph only: at the same time they would take each other's cores. (Futures
    would do as well, but Prefect draws a task inside one that still runs when it is submitted.)
    """
    states: dict[str, State[Any]] = {}

    def call(stage: Any, cycle: int = 1, **inputs: State[Any]) -> State[Any]:
        if cycle > 1:
            stage = stage.with_options(task_run_name=f"{stage.name} (cycle {cycle})")
        state = stage(experiment=experiment, execution=execution, return_state=True, **inputs)
        states[node_name(stage.name, cycle)] = state
        return state

    data = call(dataset)
    split = call(partition, dataset=data)
    first = call(classifier, dataset=data, partition=split)

    labeler = first
    for cycle in range(1, experiment.retrain.cycles + 1):
        predicted = call(pseudo_labels, cycle, dataset=data, partition=split, classifier=labeler)
        selected = call(selection, cycle, partition=split, pseudo_labels=predicted)

        if cycle == 1:
            codec = call(autoencoder, dataset=data, partition=split)
            encoded = call(latents, dataset=data, partition=split, autoencoder=codec)

        generator = call(denoiser, cycle, partition=split, selection=selected, latents=encoded)
        synthetic = call(
            synthesis,
            cycle,
            dataset=data,
            partition=split,
            classifier=labeler,
            selection=selected,
            autoencoder=codec,
            latents=encoded,
            denoiser=generator,
        )
        labeler = call(
            retrain, cycle, dataset=data, partition=split, classifier=labeler, selection=selected, synthesis=synthetic
        )

    limits = call(bounds, dataset=data, partition=split)
    rival = call(self_training, dataset=data, partition=split, classifier=first, selection=selected)
    expert = call(judge, dataset=data)
    verdict = call(quality, dataset=data, partition=split, selection=selected, synthesis=synthetic, judge=expert)
    call(
        report,
        dataset=data,
        partition=split,
        classifier=first,
        pseudo_labels=predicted,
        selection=selected,
        autoencoder=codec,
        latents=encoded,
        denoiser=generator,
        synthesis=synthetic,
        retrain=labeler,
        bounds=limits,
        self_training=rival,
        quality=verdict,
    )
    return {name: outcome(state) for name, state in states.items()}


def outcome(state: State[Any]) -> Result:
    """A finished stage's manifest, and whether it came from the store; raises what the stage raised."""
    return Result(state.result(), cached=state.name == "Cached")
