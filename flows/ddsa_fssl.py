"""DDSA-FSSL as a Prefect flow: the stages of the method in plain order."""

from typing import Annotated, Any

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from fedsyn.config import Execution, Experiment
from fedsyn.config.overrides import Overrides
from fedsyn.pipeline import Result, running
from fedsyn.presets import DEFAULT_PRESET, load_experiment, preset_names
from tasks.autoencoder import autoencoder
from tasks.classifier import classifier
from tasks.dataset import dataset
from tasks.denoiser import denoiser
from tasks.latents import latents
from tasks.partition import partition
from tasks.pseudo_labels import pseudo_labels
from tasks.report import report
from tasks.retrain import retrain
from tasks.selection import selection
from tasks.synthesis import synthesis

Preset = Annotated[str, Field(json_schema_extra={"enum": list(preset_names())})]

ONE_STAGE_AT_A_TIME: Any = ThreadPoolTaskRunner(max_workers=1)
"""Independent stages are independent in the graph; on one device they would only take each other's cores."""


def run_name() -> str:
    """`fashion-mnist labeled=10% seed=3`, say."""
    parameters = flow_run.parameters
    experiment = load_experiment(parameters["preset"], Overrides.model_validate(parameters["overrides"]).given())
    share = f"labeled={experiment.partition.labeled_fraction:.3g}"
    return f"{experiment.dataset.name} {share} seed={experiment.seed}"


@flow(name="ddsa-fssl", flow_run_name=run_name, task_runner=ONE_STAGE_AT_A_TIME, persist_result=False)
def ddsa_fssl(
    preset: Preset = DEFAULT_PRESET,
    overrides: Overrides = Overrides(),  # noqa: B008 (frozen)
    execution: Execution = Execution(),  # noqa: B008 (frozen)
) -> dict[str, Result]:
    """Run every stage of the method, or find its artifact in the store.

    Args:
        preset: Name of the experiment to start from: see `fedsyn presets`.
        overrides: Fields that differ from the preset, nested or dotted: {"synthesis.guidance_scale": 2.0}.
        execution: Store, device, engine and threads: how the run is carried out. Another device, number of threads or
            engine may change results by rounding, nothing else does.
    """
    experiment = load_experiment(preset, overrides.given())
    with running(experiment, execution):
        return chain(experiment, execution)


def chain(experiment: Experiment, execution: Execution) -> dict[str, Result]:
    """The stages as tasks, each submitted with the futures of its inputs."""
    common = (experiment, execution)

    data = dataset.submit(*common)
    split = partition.submit(*common, dataset=data)

    first = classifier.submit(*common, dataset=data, partition=split)
    predicted = pseudo_labels.submit(*common, dataset=data, partition=split, classifier=first)
    selected = selection.submit(*common, partition=split, pseudo_labels=predicted)

    codec = autoencoder.submit(*common, dataset=data, partition=split)
    encoded = latents.submit(*common, dataset=data, partition=split, autoencoder=codec)

    generator = denoiser.submit(*common, partition=split, selection=selected, latents=encoded)
    synthetic = synthesis.submit(
        *common,
        dataset=data,
        partition=split,
        classifier=first,
        selection=selected,
        autoencoder=codec,
        latents=encoded,
        denoiser=generator,
    )
    second = retrain.submit(
        *common, dataset=data, partition=split, classifier=first, selection=selected, synthesis=synthetic
    )
    page = report.submit(
        *common,
        dataset=data,
        partition=split,
        classifier=first,
        pseudo_labels=predicted,
        selection=selected,
        autoencoder=codec,
        latents=encoded,
        denoiser=generator,
        synthesis=synthetic,
        retrain=second,
    )
    futures = [data, split, first, predicted, selected, codec, encoded, generator, synthetic, second, page]
    return {result.manifest.stage: result for result in map(outcome, futures)}


def outcome(future: PrefectFuture[Any]) -> Result:
    """A finished stage's manifest, and whether it came from the store; raises what the stage raised."""
    return Result(future.result(), cached=future.state.name == "Cached")
