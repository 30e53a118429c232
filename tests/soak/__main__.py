"""Kill real runs again and again, at random instants, and compare what is left with a run that nobody interrupted.

    python -m tests.soak --kills 200 --seed 0 --folder /tmp/soak

Every run is a process group of its own, forked from a process that has imported all that a run needs, and ended with
kill -9. When a run comes to its end in spite of it, its store is compared with the reference, file by file, and the
next one begins in an empty store. The last lines are a summary in JSON; the exit status is 1 if a byte differed.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.e2e.killing import Kill, Server, attempts, differing, kill_after, lasting, leftovers


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for the stores")
    parser.add_argument("--longest", type=float, default=12.0, help="seconds after which a run is killed at the latest")
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--engine", default="sequential")
    parser.add_argument("--set", metavar="FIELD=VALUE", action="append", default=["execution.checkpoint_seconds=1"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    server, instants = Server(), random.Random(options.seed)
    settings = [f"--set={setting}" for setting in options.set]
    common = ["--preset", options.preset, "--engine", options.engine, "--threads", "1", "--device", "cpu", *settings]
    reference, log = options.folder / "reference", options.folder / "log"
    began = time.monotonic()
    with server.start(["--store", str(reference), *common], log) as run:
        assert run.ended() == 0, run.said()
    print(f"reference: {time.monotonic() - began:.0f} s", flush=True)

    kills: list[Kill] = []
    stores: list[Path] = []
    faults: list[str] = []
    began = time.monotonic()
    while len(kills) < options.kills:
        store = options.folder / f"store-{len(stores)}"
        kill: Kill | None = Kill(0.0, None, 0, 0.0)
        while kill is not None:
            delay = instants.uniform(0, options.longest) if len(kills) < options.kills else 1e6
            with server.start(["--store", str(store), *common], log) as run:
                kill = kill_after(run, delay, store)
            if kill is not None:
                kills.append(kill)
                print(f"{len(kills)}: {kill}", flush=True)
        stores.append(store)
        faults += [f"{store.name}: {fault}" for fault in [*differing(store, reference), *leftovers(store)]]
        if lasting(store) != lasting(reference):
            faults.append(f"{store.name}: manifests")
        print(f"{store.name}: {attempts(store)}, {len(faults)} faults so far", flush=True)
    server.close()
    summary = {
        "kills": len(kills),
        "runs that came to their end": len(stores),
        "kills by stage in progress": dict(Counter(kill.stage or "none" for kill in kills).most_common()),
        "kills with a checkpoint to go on from": sum(kill.kept > 0 for kill in kills),
        "most attempts at one artifact": max(max(attempts(store).values()) for store in stores),
        "seconds of work lost, mean and most": [
            round(sum(kill.lost for kill in kills) / len(kills), 2), round(max(kill.lost for kill in kills), 2)
        ],
        "minutes": round((time.monotonic() - began) / 60, 1),
        "faults": faults,
    }  # fmt: skip
    print(json.dumps(summary, indent=2))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
