"""The whole method on the real digits, with so little training that it takes seconds."""

from pathlib import Path

from fedsyn.artifacts import Store
from fedsyn.artifacts.manifest import list_files
from fedsyn.graph import STAGES
from fedsyn.presets import load_experiment

OVERRIDES = {
    "partition.num_clients": 4,
    "partition.labeled_fraction": 0.1,
    "classifier.rounds": 2,
    "classifier.local_steps": 2,
    "autoencoder.rounds": 2,
    "autoencoder.local_steps": 2,
    "autoencoder.channels": [8],
    "denoiser.rounds": 2,
    "denoiser.local_steps": 2,
    "denoiser.channels": [8, 16],
    "synthesis.per_class": 5,
    "synthesis.steps": 3,
    "synthesis.guidance_scale": 1.5,
    "judge.rounds": 1,
    "judge.local_steps": 2,
    "quality.most_images": 100,
    "quality.classification_rounds": 1,
}
EXPERIMENT = load_experiment("digits", OVERRIDES)
STAGE_NAMES = [stage.name for stage in STAGES]


def contents(store: Path) -> dict[str, bytes]:
    """Every file of every artifact but the manifests, by stage and name."""
    files = {}
    for stage in STAGE_NAMES:
        for manifest in Store(store).manifests(stage):
            folder = store / stage / manifest.key
            files |= {f"{stage}/{manifest.key}/{name}": (folder / name).read_bytes() for name in list_files(folder)}
    return files
