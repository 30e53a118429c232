"""What a run would find in the store and what it would compute, and why. Reads manifests alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedsyn.artifacts import Checkpoints, Manifest, Store
from fedsyn.artifacts.lineage import Ancestry, Difference, Identity
from fedsyn.artifacts.lock import Lock, is_held
from fedsyn.artifacts.manifest import input_name, stage_of
from fedsyn.config import Experiment
from fedsyn.graph import Node, nodes


@dataclass(frozen=True)
class Step:
    """One node of a run: its key, whether the store has it, and why it would run or what to know."""

    node: str
    key: str
    cached: bool
    why: str
    seconds: float | None
    """What the nearest artifact took; None where nothing is known."""


def plan(experiment: Experiment, keys: Mapping[str, str], fingerprint: str, store: Store) -> list[Step]:
    """What a run of `experiment`, whose nodes have these keys, would do.

    Files are not read, so that a damaged one shows only when the stage opens it.
    """
    manifests = {(manifest.stage, manifest.key): manifest for manifest in store.manifests()}
    there = set(store.names())
    stages = {node.name: node.stage.name for node in nodes(experiment)}
    wanted = {node.name: _identity(node, stages, experiment, keys, fingerprint) for node in nodes(experiment)}
    ancestry = Ancestry([*map(Identity.of, manifests.values()), *wanted.values()])
    made = Ancestry(map(Identity.of, manifests.values()))
    steps: dict[str, Step] = {}
    told: set[str] = set()
    for node in nodes(experiment):
        identity = wanted[node.name]
        place = (identity.stage, identity.key)
        manifest = manifests.get(place)
        ahead = {name: source for name, source in node.inputs.items() if not steps[source].cached}
        if manifest is not None:
            steps[node.name] = _found(node, manifest, manifests, list(ahead.values()))
            continue
        nearest = made.nearest(identity)
        like = manifests.get((identity.stage, nearest.key)) if nearest else None
        why = "nothing like it"
        if nearest:
            why = _why(ancestry.differences(nearest, identity, ahead), list(ahead.values()), told)
        if place in there:
            why = "its manifest is damaged"
        if progress := _progress(store, identity):
            why = f"{progress}; {why}"
        steps[node.name] = Step(node.name, identity.key, False, why, like.seconds if like else None)
    return list(steps.values())


def made_from_other_bytes(manifest: Manifest, manifests: Mapping[tuple[str, str], Manifest]) -> str | None:
    """The stage of which an artifact has read other bytes than the store has by now; None where there is none."""
    for name, read in manifest.inputs.items():
        current = manifests.get((stage_of(name), read.key))
        if current is not None and current.digest != read.digest:
            return current.stage
    return None


def _why(differences: Sequence[Difference], ahead: Sequence[str], told: set[str]) -> str:
    """The differences that no node before has `told` already, and the inputs that would run."""
    reasons = [str(difference) for difference in differences if difference.field not in told]
    told |= {difference.field for difference in differences}
    return "; ".join([*reasons, *([f"after {', '.join(ahead)}"] if ahead else [])])


def _identity(
    node: Node, stages: Mapping[str, str], experiment: Experiment, keys: Mapping[str, str], fingerprint: str
) -> Identity:
    """What the artifact of a node would be. `stages`: the stage of every node."""
    stage = node.stage
    inputs = {input_name(name, stages[source]): keys[source] for name, source in node.inputs.items()}
    files = fingerprint if stage.name == "dataset" else None
    return Identity(stage.name, keys[node.name], stage.version, stage.key_fields(experiment), inputs, files)


def _found(node: Node, manifest: Manifest, manifests: Mapping[tuple[str, str], Manifest], ahead: Sequence[str]) -> Step:
    """The step of a node whose artifact is there: cached, unless it was made from other bytes of its inputs."""
    if other := made_from_other_bytes(manifest, manifests):
        return Step(node.name, manifest.key, False, f"made from other bytes of {other}", manifest.seconds)
    why = f"{manifest.finished:%Y-%m-%d %H:%M} UTC"
    if ahead:
        why += f"; holds if {', '.join(ahead)} has the same bytes again"
    return Step(node.name, manifest.key, True, why, manifest.seconds)


def _progress(store: Store, identity: Identity) -> str:
    """What is known of the stage being in progress; empty where it is not."""
    place = store.place(identity.stage, identity.key)
    if is_held(place / "lock"):
        return f"being made by {Lock(place / 'lock').holder() or 'another run'}"
    units = Checkpoints(place / "checkpoints").units()
    return f"goes on after {units} {'images' if identity.stage == 'synthesis' else 'rounds'}" if units else ""
