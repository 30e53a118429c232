"""What a run would find in the store and what it would compute, and why. Reads manifests alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedsyn.artifacts import Checkpoints, Manifest, Store
from fedsyn.artifacts.lineage import Ancestry, Difference, Identity
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.config import Experiment
from fedsyn.graph import STAGES, Stage


@dataclass(frozen=True)
class Step:
    """One stage of a run: its key, whether the store has it, and why it would run or what to know."""

    stage: str
    key: str
    cached: bool
    why: str
    seconds: float | None
    """What the nearest artifact took; None where nothing is known."""


def plan(experiment: Experiment, keys: Mapping[str, str], fingerprint: str, store: Store) -> list[Step]:
    """What a run of `experiment`, whose stages have these keys, would do.

    Files are not read, so that a damaged one shows only when the stage opens it.
    """
    manifests = {(manifest.stage, manifest.key): manifest for manifest in store.manifests()}
    there = set(store.names())
    wanted = {stage.name: _identity(stage, experiment, keys, fingerprint) for stage in STAGES}
    ancestry = Ancestry([*map(Identity.of, manifests.values()), *wanted.values()])
    made = Ancestry(map(Identity.of, manifests.values()))
    steps: dict[str, Step] = {}
    told: set[str] = set()
    for stage in STAGES:
        identity = wanted[stage.name]
        manifest = manifests.get((stage.name, identity.key))
        if manifest is not None:
            steps[stage.name] = _found(manifest, manifests, steps)
            continue
        nearest = made.nearest(identity)
        like = manifests.get((stage.name, nearest.key)) if nearest else None
        ahead = [name for name in stage.inputs if not steps[name].cached]
        why = _why(ancestry.differences(nearest, identity, ahead), ahead, told) if nearest else "nothing like it"
        if (stage.name, identity.key) in there:
            why = "its manifest is damaged"
        if progress := _progress(store, identity):
            why = f"{progress}; {why}"
        steps[stage.name] = Step(stage.name, identity.key, False, why, like.seconds if like else None)
    return list(steps.values())


def made_from_other_bytes(manifest: Manifest, manifests: Mapping[tuple[str, str], Manifest]) -> str | None:
    """The input of which an artifact has read other bytes than the store has by now; None where there is none."""
    for name, read in manifest.inputs.items():
        current = manifests.get((name, read.key))
        if current is not None and current.digest != read.digest:
            return name
    return None


def _why(differences: Sequence[Difference], ahead: Sequence[str], told: set[str]) -> str:
    """The differences that no stage before has `told` already, and the inputs that would run."""
    reasons = [str(difference) for difference in differences if difference.field not in told]
    told |= {difference.field for difference in differences}
    return "; ".join([*reasons, *([f"after {', '.join(ahead)}"] if ahead else [])])


def _identity(stage: Stage, experiment: Experiment, keys: Mapping[str, str], fingerprint: str) -> Identity:
    inputs = {name: keys[name] for name in stage.inputs}
    files = fingerprint if stage.name == "dataset" else None
    return Identity(stage.name, keys[stage.name], stage.version, stage.key_fields(experiment), inputs, files)


def _found(manifest: Manifest, manifests: Mapping[tuple[str, str], Manifest], steps: Mapping[str, Step]) -> Step:
    """The step of a stage whose artifact is there: cached, unless it was made from other bytes of its inputs."""
    if other := made_from_other_bytes(manifest, manifests):
        return Step(manifest.stage, manifest.key, False, f"made from other bytes of {other}", manifest.seconds)
    doubts = [name for name in manifest.inputs if not steps[name].cached]
    why = f"{manifest.finished:%Y-%m-%d %H:%M} UTC"
    if doubts:
        why += f"; holds if {', '.join(doubts)} has the same bytes again"
    return Step(manifest.stage, manifest.key, True, why, manifest.seconds)


def _progress(store: Store, identity: Identity) -> str:
    """What is known of the stage being in progress; empty where it is not."""
    place = store.place(identity.stage, identity.key)
    if is_held(place / "lock"):
        return f"being made by {Lock(place / 'lock').holder() or 'another run'}"
    units = Checkpoints(place / "checkpoints").units()
    return f"goes on after {units} {'images' if identity.stage == 'synthesis' else 'rounds'}" if units else ""
