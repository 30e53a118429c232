"""What a study needs, stage by stage: how many artifacts, how many of them the store has, how many runs share them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from fedsyn.ablation.study import Run
from fedsyn.artifacts import Manifest, Store
from fedsyn.config import Dataset
from fedsyn.data.catalogue import fingerprint
from fedsyn.graph import STAGES, nodes
from fedsyn.pipeline import keys
from fedsyn.plan import made_from_other_bytes

Manifests = Mapping[tuple[str, str], Manifest]


@dataclass(frozen=True)
class StageCount:
    """What the runs of a study need of one stage."""

    stage: str
    needed: int
    """How often the runs need one of its artifacts: each once, or once a cycle."""
    artifacts: int
    """Different artifacts that they need."""
    cached: int
    """Of these, how many the store has."""
    shared: int
    """Of these, how many more than one run needs."""
    seconds: float | None
    """What the others may take: each the median of this stage's artifacts of the same data set. None: nothing known."""

    @property
    def new(self) -> int:
        """The artifacts that have to be made."""
        return self.artifacts - self.cached


def keys_of_each_run(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The key of every node of every run. A data set's files are read once, however many runs use it.

    Raises:
        DatasetError: a data set is not on this machine.
    """
    files: dict[Dataset, str] = {}
    for run in runs:
        settings = run.experiment.dataset
        if settings not in files:
            files[settings] = fingerprint(settings)
    return [keys(run.experiment, files[run.experiment.dataset]) for run in runs]


def plan_study(runs: Sequence[Run], keys_of_each_run: Sequence[Mapping[str, str]], store: Store) -> list[StageCount]:
    """The counts of every stage. `keys_of_each_run`: one mapping of nodes to keys for each of `runs`.

    Reads manifests alone, so that a damaged file shows only when a stage opens it.
    """
    manifests = {(manifest.stage, manifest.key): manifest for manifest in store.manifests()}
    took = _seconds_by_data_set(manifests)
    needed_of = {stage.name: Counter[tuple[str, str]]() for stage in STAGES}
    for run, known in zip(runs, keys_of_each_run, strict=True):
        for node in nodes(run.experiment):
            needed_of[node.stage.name][known[node.name], known["dataset"]] += 1
    counts = []
    for stage, needed in needed_of.items():
        new = [data for key, data in needed if not _is_there(manifests, stage, key)]
        known_times = [median(took[stage, data]) for data in new if (stage, data) in took]
        counts.append(
            StageCount(
                stage,
                needed=needed.total(),
                artifacts=len(needed),
                cached=len(needed) - len(new),
                shared=sum(number > 1 for number in needed.values()),
                seconds=sum(known_times) if len(known_times) == len(new) else None,
            )
        )
    return counts


def _is_there(manifests: Manifests, stage: str, key: str) -> bool:
    manifest = manifests.get((stage, key))
    return manifest is not None and made_from_other_bytes(manifest, manifests) is None


def _seconds_by_data_set(manifests: Manifests) -> dict[tuple[str, str], list[float]]:
    """What the artifacts took, by stage and the key of the data set that they come from."""
    took: dict[tuple[str, str], list[float]] = {}
    for manifest in manifests.values():
        for data in _data_set(manifest, manifests):
            took.setdefault((manifest.stage, data), []).append(manifest.seconds)
    return took


def _data_set(manifest: Manifest, manifests: Manifests) -> Iterator[str]:
    """The key of the data set that an artifact comes from, directly or through its partition."""
    if manifest.stage == "dataset":
        yield manifest.key
    elif "dataset" in manifest.inputs:
        yield manifest.inputs["dataset"].key
    elif "partition" in manifest.inputs:
        split = manifests.get(("partition", manifest.inputs["partition"].key))
        yield from _data_set(split, manifests) if split else ()
