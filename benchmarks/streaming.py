"""What memory a generation takes, by the number of images: the synthesis stage and the reading of its images.

    python benchmarks/streaming.py 2000 20000 100000

Trains tiny models on the digits first (10 clients), then runs the stage and the reader for each number, each number in
a process of its own, on one thread. Before it measures, a process makes 12,800 images once. "More" is how far the
resident memory then rises above what it was before (Linux only); "held" is the size of the array that the reader
returns, which retraining needs whole.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from fedsyn.artifacts import Artifact, Checkpoints, Folder, Manifest, Store
from fedsyn.config import Execution
from fedsyn.context import Context
from fedsyn.graph import STAGES, SYNTHESIS
from fedsyn.pipeline import run_stage
from fedsyn.presets import load_experiment
from fedsyn.synthesis.pictures import read_pictures

TINY = {
    "classifier.rounds": 1,
    "classifier.local_steps": 1,
    "classifier.width": 8,
    "autoencoder.rounds": 1,
    "autoencoder.local_steps": 1,
    "autoencoder.channels": [8],
    "denoiser.rounds": 1,
    "denoiser.local_steps": 1,
    "denoiser.channels": [8],
    "selection.strategy": "none",  # every class has images, so that the denoiser knows it
    "synthesis.target": "fixed",
    "synthesis.steps": 1,
    "synthesis.guidance_scale": 1,
}
CLIENTS, CLASSES = 10, 10


WARM_UP = 12_800
"""Images: beyond the most batches that wait in memory."""


def resident_mb(field: str) -> float:
    """`VmRSS`: the resident memory of this process; `VmHWM`: the most of it since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def forget_peak() -> float:
    """Begin a new peak; returns the resident memory at this moment."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident_mb("VmRSS")


def train(store: Path) -> dict[str, Artifact]:
    """What the synthesis stage reads; in the store after the first time."""
    execution = Execution(store=str(store), device="cpu", threads=1, engine="sequential")
    manifests: dict[str, Manifest] = {}
    for stage in STAGES[: STAGES.index(SYNTHESIS)]:
        inputs = {name: manifests[name] for name in stage.inputs}
        manifests[stage.name] = run_stage(stage, load_experiment("digits", TINY), execution, inputs).manifest
    return {name: Store(store).open(manifests[name]) for name in SYNTHESIS.inputs}


def synthesise(inputs: dict[str, Artifact], folder: Path, images: int, shared: bool) -> tuple[float, float]:
    """Run the stage. Returns its seconds, and how many images it drew."""
    settings = load_experiment("digits", TINY).synthesis.model_copy(
        update={"per_class": images // CLIENTS // CLASSES, "shared_pool": shared}
    )
    context = Context("synthesis", torch.device("cpu"), Checkpoints(folder / "checkpoints"))
    began = time.perf_counter()
    metrics = SYNTHESIS.function()(inputs, Folder(folder), context, seed=0, synthesis=settings)
    return time.perf_counter() - began, metrics["drawn"]


def measure(store: Path, images: int, shared: bool) -> dict[str, float]:
    """Peaks (MB) and seconds of the stage and of the reader."""
    torch.set_num_threads(1)
    inputs = train(store)
    with tempfile.TemporaryDirectory(dir=store) as warm, tempfile.TemporaryDirectory(dir=store) as folder:
        synthesise(inputs, Path(warm), WARM_UP, shared=False)
        before = forget_peak()
        seconds, drawn = synthesise(inputs, Path(folder), images, shared)
        stage = resident_mb("VmHWM") - before
        between = forget_peak()
        began = time.perf_counter()
        pictures = read_pictures(Path(folder) / "images.parquet")
        return {
            "images": len(pictures),
            "drawn": drawn,
            "before": before,
            "stage": stage,
            "reader": resident_mb("VmHWM") - between,
            "held": pictures.nbytes / 2**20,
            "stage_seconds": seconds,
            "reader_seconds": time.perf_counter() - began,
            "file": (Path(folder) / "images.parquet").stat().st_size / 2**20,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, nargs="+", help="multiples of 100: 10 clients of 10 classes")
    parser.add_argument("--shared-pool", action="store_true", help="the clients share a pool, a tenth of the images")
    parser.add_argument("--store", type=Path, help="a store to go on in; default: a temporary one")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.store, args.images[0], args.shared_pool)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        store = args.store or Path(temporary)
        print("| images | drawn | before, MB | stage: MB more | s | reader: MB more | held, MB | s | file, MB |")
        print("| ---: " * 9 + "|")
        train(store)
        for images in args.images:
            command = [sys.executable, __file__, "--one", "--store", str(store), str(images)]
            command += ["--shared-pool"] if args.shared_pool else []
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            one = json.loads(lines[-1])
            print(
                f"| {one['images']:,} | {one['drawn']:,.0f} | {one['before']:.0f} | {one['stage']:.0f} "
                f"| {one['stage_seconds']:.0f} | {one['reader']:.0f} | {one['held']:.1f} "
                f"| {one['reader_seconds']:.1f} | {one['file']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
