"""Running one stage: find its artifact or make it. Knows the graph and the store, not who calls it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from fedsyn.artifacts import Artifact, Input, Manifest, Store
from fedsyn.artifacts.manifest import describe
from fedsyn.config import Execution, Experiment, FederatedTraining
from fedsyn.context import Context
from fedsyn.federated.engines.forkserver import start_early
from fedsyn.graph import STAGES, Stage

if TYPE_CHECKING:
    import torch

LIBRARIES = (
    "fedsyn",
    "torch",
    "torchvision",
    "diffusers",
    "numpy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "pillow",
    "scikit-learn",
    "scipy",
)


@dataclass(frozen=True)
class Result:
    """The manifest of a stage's artifact, and whether it was there already."""

    manifest: Manifest
    cached: bool


def run_stage(stage: Stage, experiment: Experiment, execution: Execution, inputs: Mapping[str, Manifest]) -> Result:
    """Return the artifact of `stage` from the store, verified, or compute and publish it.

    Raises:
        DatasetError: the data set is not on this machine, or not what its name says.
        StoreError: the store cannot be written, or an input is gone.
    """
    store = Store(execution.store)
    fingerprint = _fingerprint(experiment) if stage.name == "dataset" else None
    key = stage.key(experiment, {name: manifest.key for name, manifest in inputs.items()}, fingerprint)
    read = {name: Input(key=inputs[name].key, digest=inputs[name].digest) for name in stage.inputs}
    found = store.find(stage.name, key, read)
    if found is not None:
        return Result(found.manifest, cached=True)

    for section in stage.settings(experiment).values():
        if isinstance(section, FederatedTraining):
            start_early(section, experiment.partition.num_clients, execution)

    import torch

    from fedsyn.federated.engines.choice import available_cores

    device = resolve_device(execution.device)
    threads = execution.threads or available_cores()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False  # same bytes, run after run
    started = datetime.now(UTC)
    opened: dict[str, Artifact] = {name: store.open(inputs[name]) for name in stage.inputs}
    with store.draft(stage.name, key) as draft:
        context = Context(stage.name, device, execution)
        metrics = stage.function()(opened, draft, context, **stage.settings(experiment))
        manifest = Manifest(
            stage=stage.name,
            version=stage.version,
            key=key,
            config=stage.key_fields(experiment),
            seed=experiment.seed,
            inputs=read,
            fingerprint=fingerprint,
            libraries={name: version(name) for name in LIBRARIES},
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            threads=threads,
            engine=execution.engine,
            started=started,
            finished=datetime.now(UTC),
            metrics=metrics,
            files=describe(draft.root),
        )
        return Result(store.publish(draft, manifest).manifest, cached=False)


def run(experiment: Experiment, execution: Execution) -> dict[str, Result]:
    """All stages in order, without an orchestrator: for notebooks and tests. Returns each stage's result by name."""
    results: dict[str, Result] = {}
    for stage in STAGES:
        inputs = {name: results[name].manifest for name in stage.inputs}
        results[stage.name] = run_stage(stage, experiment, execution, inputs)
    return results


def resolve_device(name: str) -> "torch.device":
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ValueError: a CUDA device was asked for and there is none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"execution.device must be a device of this machine, which has {torch.cuda.device_count()} of CUDA, "
            f"got {name!r}; use 'auto' or 'cpu'"
        )
    return device


def _fingerprint(experiment: Experiment) -> str:
    from fedsyn.data.catalogue import fingerprint

    return fingerprint(experiment.dataset)
