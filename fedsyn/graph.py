"""The stage graph, declared once: each stage's name, version, config sections and inputs, and what its key is.

    dataset -> partition -> classifier -> pseudo_labels -> selection --+
                   |                                                   +-> denoiser -> synthesis -> retrain -> report
                   +-> autoencoder -> latents -------------------------+

    dataset -> judge -> quality <- partition, selection, synthesis; the report reads it

A run has one node a stage, and with `retrain.cycles` more of those that a cycle repeats (`nodes`).

The function of a stage is `run` in `fedsyn/stages/<name>.py`; it is imported only when the stage has to run, so
that reading the graph, or a run whose stages are all cached, never pays for PyTorch.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedsyn.config import Experiment


@dataclass(frozen=True)
class Stage:
    """What is computed from what. Whoever changes what a stage computes bumps its version."""

    name: str
    version: int
    sections: tuple[str, ...]
    inputs: tuple[str, ...]

    def function(self) -> Callable[..., dict[str, float]]:
        """The stage's function: (inputs, output folder, context, **sections) -> metrics."""
        run: Callable[..., dict[str, float]] = importlib.import_module(f"fedsyn.stages.{self.name}").run
        return run

    def settings(self, experiment: Experiment) -> dict[str, Any]:
        """The sections that the function receives, by name, and nothing else."""
        return {name: getattr(experiment, name) for name in self.sections}

    def key_fields(self, experiment: Experiment) -> dict[str, Any]:
        """The plain values of the sections that the key covers."""
        settings = self.settings(experiment).items()
        return {name: value if isinstance(value, int) else value.key_fields() for name, value in settings}

    def key(self, experiment: Experiment, input_keys: Mapping[str, str], fingerprint: str | None = None) -> str:
        """The content address of the stage's result: 24 hexadecimal digits (96 bits of SHA-256)."""
        identity = {
            "stage": self.name,
            "version": self.version,
            "config": self.key_fields(experiment),
            "inputs": {name: input_keys[name] for name in self.inputs},
            "fingerprint": fingerprint,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


DATASET = Stage("dataset", 1, ("dataset",), ())
PARTITION = Stage("partition", 1, ("seed", "partition"), ("dataset",))
CLASSIFIER = Stage("classifier", 3, ("seed", "classifier"), ("dataset", "partition"))
PSEUDO_LABELS = Stage(
    "pseudo_labels", 4, ("seed", "classifier", "pseudo_labels"), ("dataset", "partition", "classifier")
)
SELECTION = Stage("selection", 2, ("selection",), ("partition", "pseudo_labels"))
AUTOENCODER = Stage("autoencoder", 3, ("seed", "autoencoder"), ("dataset", "partition"))
LATENTS = Stage("latents", 2, ("latents",), ("dataset", "partition", "autoencoder"))
DENOISER = Stage("denoiser", 2, ("seed", "denoiser"), ("partition", "selection", "latents"))
SYNTHESIS = Stage(
    "synthesis",
    2,
    ("seed", "synthesis"),
    ("dataset", "partition", "classifier", "selection", "autoencoder", "latents", "denoiser"),
)
RETRAIN = Stage(
    "retrain",
    3,
    ("seed", "classifier", "retrain"),
    ("dataset", "partition", "classifier", "selection", "synthesis"),
)
BOUNDS = Stage("bounds", 2, ("seed", "classifier", "baselines"), ("dataset", "partition"))
SELF_TRAINING = Stage(
    "self_training", 2, ("seed", "classifier", "baselines"), ("dataset", "partition", "classifier", "selection")
)
JUDGE = Stage("judge", 2, ("judge",), ("dataset",))
QUALITY = Stage(
    "quality",
    2,
    ("seed", "synthesis", "judge", "quality"),
    ("dataset", "partition", "selection", "synthesis", "judge"),
)
REPORT = Stage(
    "report",
    8,
    (
        "seed", "dataset", "partition", "classifier", "pseudo_labels", "selection", "autoencoder", "latents",
        "denoiser", "synthesis", "retrain", "judge", "quality", "report",
    ),
    (
        "dataset", "partition", "classifier", "pseudo_labels", "selection", "autoencoder", "latents", "denoiser",
        "synthesis", "retrain", "bounds", "self_training", "quality",
    ),
)  # fmt: skip

STAGES: tuple[Stage, ...] = (
    DATASET,
    PARTITION,
    CLASSIFIER,
    PSEUDO_LABELS,
    SELECTION,
    AUTOENCODER,
    LATENTS,
    DENOISER,
    SYNTHESIS,
    RETRAIN,
    BOUNDS,
    SELF_TRAINING,
    JUDGE,
    QUALITY,
    REPORT,
)
"""Every stage, each after all of its inputs."""

CYCLE: tuple[Stage, ...] = (PSEUDO_LABELS, SELECTION, DENOISER, SYNTHESIS, RETRAIN)
"""What every further cycle repeats."""


@dataclass(frozen=True)
class Node:
    """A stage in its place in a run: `inputs` says for each of the stage's inputs which node makes it."""

    name: str
    stage: Stage
    inputs: Mapping[str, str]


def node_name(stage: str, cycle: int) -> str:
    """What a node is called: `denoiser` in the first cycle, `denoiser-2` in the second."""
    return stage if cycle == 1 else f"{stage}-{cycle}"


def nodes(experiment: Experiment) -> tuple[Node, ...]:
    """Every node of a run, each after all of its inputs.

    In a further cycle, the retrained classifier of the one before is the input `classifier`. What stands outside of
    the cycles reads the last one, and step 1's classifier.
    """
    found = []
    latest = {stage.name: stage.name for stage in STAGES}
    for stage in STAGES:
        found.append(Node(stage.name, stage, {name: latest[name] for name in stage.inputs}))
        if stage is not RETRAIN:
            continue
        for cycle in range(2, experiment.retrain.cycles + 1):
            labeler = latest[RETRAIN.name]
            latest |= {again.name: node_name(again.name, cycle) for again in CYCLE}
            sources = latest | {CLASSIFIER.name: labeler}
            for again in CYCLE:
                found.append(Node(latest[again.name], again, {name: sources[name] for name in again.inputs}))
    return tuple(found)
