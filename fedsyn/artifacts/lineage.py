"""Where artifacts come from, and in what two differ: read off manifests alone."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedsyn.artifacts.manifest import Manifest, role_of, stage_of


@dataclass(frozen=True)
class Identity:
    """What a key is the hash of: a stage's version, settings, inputs and data; of an artifact, or of one to be made."""

    stage: str
    key: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    fingerprint: str | None

    @staticmethod
    def of(manifest: Manifest) -> "Identity":
        """That of an artifact."""
        inputs = {name: read.key for name, read in manifest.inputs.items()}
        return Identity(manifest.stage, manifest.key, manifest.version, manifest.config, inputs, manifest.fingerprint)

    def fields(self) -> dict[str, object]:
        """Everything but the inputs, by dotted name."""
        named = {"stage version": self.version, "files of the data set": self.fingerprint}
        return {f"{self.stage}: {name}": value for name, value in named.items()} | dict(_leaves(self.config))


@dataclass(frozen=True)
class Difference:
    """A field in which two artifacts, or what they come from, differ; None where one of them has no such field."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field} {_short(self.before)} -> {_short(self.after)}"


class Ancestry:
    """The identities of all artifacts that are known, by stage and key."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        self._known: dict[str, dict[str, Identity]] = {}
        for identity in identities:
            self._known.setdefault(identity.stage, {})[identity.key] = identity

    def get(self, stage: str, key: str) -> Identity | None:
        """The identity of an artifact, or None where nothing is known of it."""
        return self._known.get(stage, {}).get(key)

    def of_stage(self, stage: str) -> Iterable[Identity]:
        """All identities of a stage."""
        return self._known.get(stage, {}).values()

    def reach(self, stage: str, key: str) -> set[tuple[str, str]]:
        """The artifact and everything that it comes from, as (stage, key)."""
        reached: set[tuple[str, str]] = set()
        waiting = [(stage, key)]
        while waiting:
            place = waiting.pop()
            if place not in reached:
                reached.add(place)
                known = self.get(*place)
                waiting += [(stage_of(name), read) for name, read in known.inputs.items()] if known else []
        return reached

    def differences(self, before: Identity, after: Identity, without: Collection[str] = ()) -> list[Difference]:
        """The fields in which `after` differs from `before`, those of their inputs first, each once.

        Inputs of the roles in `without` are left out, and what they come from.
        """
        found: dict[str, Difference] = {}
        seen: set[tuple[str, str, str]] = set()

        def compare(old: Identity, new: Identity) -> None:
            if old.key == new.key or (old.stage, old.key, new.key) in seen:
                return
            seen.add((old.stage, old.key, new.key))
            olds, news = ({role_of(name): name for name in identity.inputs} for identity in (old, new))
            for role in [role for role in {**news, **olds} if role not in without]:
                was, now = olds.get(role, ""), news.get(role, "")
                one, other = old.inputs.get(was, ""), new.inputs.get(now, "")
                first, second = self.get(stage_of(was), one), self.get(stage_of(now), other)
                if first is not None and second is not None and first.stage == second.stage:
                    compare(first, second)
                elif was and now and was != now:
                    places = f"{stage_of(was)}/{one[:8]}", f"{stage_of(now)}/{other[:8]}"
                    found.setdefault(f"input {role}", Difference(f"input {role}", *places))
                elif one != other:
                    field = f"input {was or now}"
                    found.setdefault(field, Difference(field, one[:8], other[:8]))
            fields, others = old.fields(), new.fields()
            for field in {**others, **fields}:
                if fields.get(field) != others.get(field):
                    found.setdefault(field, Difference(field, fields.get(field), others.get(field)))

        compare(before, after)
        return list(found.values())

    def nearest(self, wanted: Identity) -> Identity | None:
        """The artifact of the same stage that differs from `wanted` in the fewest fields and inputs."""
        fields, inputs = wanted.fields(), set(wanted.inputs.items())

        def distance(other: Identity) -> tuple[int, int]:
            theirs = other.fields()
            differing = sum(theirs.get(field) != fields.get(field) for field in {**fields, **theirs})
            return differing + len(inputs - set(other.inputs.items())), differing

        others = (other for other in self.of_stage(wanted.stage) if other.key != wanted.key)
        return min(others, key=distance, default=None)


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
