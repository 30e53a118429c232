"""A store of many artifacts, and how long the commands that read manifests take on it.

python benchmarks/store_size.py 10000 SOURCE   # SOURCE: a store with one whole run
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fedsyn.artifacts import Manifest, Store
from fedsyn.graph import STAGES


def fill(source: Store, target: Store, count: int) -> list[Manifest]:
    """Publish `count` manifests without files: copies of a run's, each copy under its own seed and keys."""
    real = {manifest.stage: manifest for manifest in source.manifests()}
    assert len(real) == len(STAGES), f"{source.root} must hold one whole run"
    made: list[Manifest] = []
    for number in range(count // len(STAGES)):
        keys = {stage.name: f"{number:012x}{index:012x}" for index, stage in enumerate(STAGES)}
        for stage, manifest in real.items():
            inputs = {name: read.model_copy(update={"key": keys[name]}) for name, read in manifest.inputs.items()}
            config = {**manifest.config, "seed": number}
            copy = manifest.model_copy(update={"key": keys[stage], "inputs": inputs, "config": config})
            folder = target.folder(stage, keys[stage])
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text(copy.sealed(), encoding="utf-8")
            made.append(copy)
    return made


def main() -> None:
    """Build the store, run each command a few times, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=int, help="how many")
    parser.add_argument("source", type=Path, help="a store with one whole run")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="fedsyn-store-"))
    try:
        made = fill(Store(arguments.source), Store(root), arguments.artifacts)
        reports = [manifest.key for manifest in made if manifest.stage == "report"]
        command = Path(sys.executable).with_name("fedsyn")
        calls = {
            "plan": ["plan"],
            "ls": ["artifacts", "ls"],
            "show": ["artifacts", "show", reports[-1]],
            "lineage": ["artifacts", "lineage", reports[-1]],
            "diff": ["artifacts", "diff", reports[0], reports[-1]],
            "gc": ["artifacts", "gc", "--keep-reachable", "--dry-run"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.repeats):
            for name, call in calls.items():
                began = time.perf_counter()
                subprocess.run([command, *call, "--store", root], check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - began)
        medians = {name: round(statistics.median(times), 2) for name, times in seconds.items()}
        print(json.dumps({"artifacts": len(made), "median seconds": medians}, indent=2))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
