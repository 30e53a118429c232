"""Running one stage: find its artifact or make it. Knows the graph and the store, not who calls it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from fedsyn import interruption
from fedsyn.artifacts import Artifact, Attempt, Input, Manifest, Pace, Store, open_store
from fedsyn.artifacts.manifest import describe, input_name
from fedsyn.artifacts.work import Work
from fedsyn.config import Execution, Experiment, FederatedTraining
from fedsyn.context import Context
from fedsyn.federated.engines.forkserver import refuse_in_a_worker, start_early
from fedsyn.graph import Stage, nodes

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

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

    @property
    def seconds(self) -> float:
        """Time inside the stage in this run; 0 where the store had its artifact."""
        return 0.0 if self.cached else (self.manifest.finished - self.manifest.attempts[-1].started).total_seconds()


def run_stage(stage: Stage, experiment: Experiment, execution: Execution, inputs: Mapping[str, Manifest]) -> Result:
    """Return the artifact of `stage` from the store, verified, or compute and publish it.

    Raises:
        DatasetError: the data set is not on this machine, or not what its name says.
        StoreError: the store cannot be written or is full, or an input is gone.
        Interrupted: a signal asked to stop; what was done is kept.
    """
    refuse_in_a_worker()
    store = store_of(execution)
    fingerprint = _fingerprint(experiment) if stage.name == "dataset" else None
    key = stage.key(experiment, {name: manifest.key for name, manifest in inputs.items()}, fingerprint)
    read = _as_read(stage, inputs)

    def make(work: Work) -> Artifact:
        interruption.check()
        with interruption.told():
            return _compute(stage, experiment, execution, inputs, store, work, key, fingerprint)

    artifact, cached = store.obtain(stage.name, key, read, make, pace(execution))
    if cached:
        _warn_of_other_libraries(artifact.manifest)
    return Result(artifact.manifest, cached)


def _compute(
    stage: Stage,
    experiment: Experiment,
    execution: Execution,
    inputs: Mapping[str, Manifest],
    store: Store,
    work: Work,
    key: str,
    fingerprint: str | None,
) -> Artifact:
    """Carry the stage out in the place of `work`, and publish."""
    for section in stage.settings(experiment).values():
        if isinstance(section, FederatedTraining):
            start_early(section, experiment.partition.num_clients, execution)

    import torch

    from fedsyn.federated.engines.choice import available_cores

    device = resolve_device(execution.device)
    threads = execution.threads or available_cores()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False  # same bytes, run after run
    attempt = Attempt(
        started=datetime.now(UTC),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=threads,
        engine=execution.engine,
        libraries=installed(),
    )
    read = _as_read(stage, inputs)
    work.begin(attempt, read)
    opened = {name: store.open(inputs[name]) for name in stage.inputs}
    context = Context(stage.name, device, work.checkpoints, execution, key)
    metrics = stage.function()(opened, work.draft, context, **stage.settings(experiment))
    finished = datetime.now(UTC)
    manifest = Manifest(
        stage=stage.name,
        version=stage.version,
        key=key,
        config=stage.key_fields(experiment),
        seed=experiment.seed,
        inputs=read,
        fingerprint=fingerprint,
        attempts=work.attempts,
        seconds=work.earlier_seconds + (finished - attempt.started).total_seconds(),
        finished=finished,
        metrics=metrics,
        files=describe(work.draft.root),
    )
    return store.publish(work.draft, manifest)


def run(experiment: Experiment, execution: Execution) -> dict[str, Result]:
    """All nodes in order, without an orchestrator: for notebooks and tests. Returns each node's result by name."""
    results: dict[str, Result] = {}
    with running(experiment, execution):
        for node in nodes(experiment):
            inputs = {name: results[source].manifest for name, source in node.inputs.items()}
            results[node.name] = run_stage(node.stage, experiment, execution, inputs)
    return results


@contextmanager
def running(experiment: Experiment, execution: Execution) -> Iterator[None]:
    """What surrounds a run: signals ask it to stop, and nobody cleans away what it needs.

    Raises:
        DatasetError: the data set is not on this machine.
    """
    known = keys(experiment)
    needed = [(node.stage.name, known[node.name]) for node in nodes(experiment)]
    with interruption.listening(), store_of(execution).hold(needed):
        yield


def store_of(execution: Execution) -> Store:
    """The store that a run uses.

    Raises:
        StoreError: its URL cannot be used, or its cache cannot be written.
    """
    return open_store(execution.store, execution.cache, execution.cache_gib)


def keys(experiment: Experiment, fingerprint: str | None = None) -> dict[str, str]:
    """The key of every node of an experiment, whether it was run or not.

    `fingerprint`: the data set's, from a caller who knows it; else its files are read.

    Raises:
        DatasetError: the data set is not on this machine.
    """
    known: dict[str, str] = {}
    for node in nodes(experiment):
        files = (fingerprint or _fingerprint(experiment)) if node.name == "dataset" else None
        inputs = {name: known[source] for name, source in node.inputs.items()}
        known[node.name] = node.stage.key(experiment, inputs, files)
    return known


def pace(execution: Execution) -> Pace:
    """How often stages in progress keep what they have."""
    return Pace(execution.checkpoint_rounds, execution.checkpoint_seconds)


def installed() -> dict[str, str]:
    """The versions of the libraries that a result depends on."""
    return {name: version(name) for name in LIBRARIES}


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


def _as_read(stage: Stage, inputs: Mapping[str, Manifest]) -> dict[str, Input]:
    read = ((name, inputs[name]) for name in stage.inputs)
    return {input_name(name, made.stage): Input(key=made.key, digest=made.digest) for name, made in read}


def _warn_of_other_libraries(manifest: Manifest) -> None:
    """The key knows the stage's version and not the libraries'; a hit made by other ones is worth a line."""
    made_by = manifest.attempts[-1].libraries
    changed = [
        f"{name} {made_by[name]} (now {now})"
        for name, now in installed().items()
        if name in made_by and _major(made_by[name]) != _major(now)
    ]
    if changed:
        logger.warning(
            "%s/%s was made by %s; delete it to have it made again", manifest.stage, manifest.key, ", ".join(changed)
        )


def _major(version_: str) -> tuple[str, ...]:
    """The part of a version whose change may break: the first number, and the second while the first is 0."""
    parts = version_.split(".")
    return tuple(parts[: 2 if parts[0] == "0" else 1])


def _fingerprint(experiment: Experiment) -> str:
    from fedsyn.data.catalogue import fingerprint

    return fingerprint(experiment.dataset)
