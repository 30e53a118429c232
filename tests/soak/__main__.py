"""Kill the real command at random instants, again and again, and compare what the runs make in spite of it."""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.killing import COMMAND, PLAIN, Kill, Run, attempts, differing, kill_after, lasting, leftovers


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Kill runs (kill -9, the whole process group) at random instants and start them again. Each run that "
        "comes to its end is compared, to the byte, with one that nobody interrupted. The last thing that this says is a "
        "summary as JSON; the exit status is 1 where a byte differs or something is left over.",
    )
    parser.add_argument("--kills", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants (default: %(default)s)")
    parser.add_argument("--store", type=Path, required=True, help="a folder for all stores, logs and Prefect's files")
    parser.add_argument("--longest", type=float, help="seconds; instants are uniform in [0, longest); default: a run's")
    parser.add_argument("--preset", default="digits", help="(default: %(default)s)")
    parser.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], help="as in `fedsyn run`")
    parser.add_argument("--engine", default="auto", help="as in `fedsyn run` (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="as in `fedsyn run`")
    parser.add_argument("--threads", type=int, default=1, help="as in `fedsyn run` (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="as in `fedsyn run` (default: %(default)s)")
    parser.add_argument("--alone", action="store_true", help="kill the run's process and not its group")
    parser.add_argument("--plain", action="store_true", help="run without Prefect")
    parser.add_argument("--keep", action="store_true", help="keep the stores of runs that came to their end")
    soak = Soak(parser.parse_args())
    try:
        soak.reference()
        soak.kill_many()
    finally:
        print(json.dumps(soak.summary(), indent=2))
    return 1 if soak.mismatches or soak.left else 0


class Soak:
    """The kills, the runs that came to their end, and what was wrong with them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.store.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.instants = random.Random(options.seed)
        self.began = time.monotonic()
        self.kills: list[Kill] = []
        self.attempts: dict[str, Counter[int]] = {}
        self.mismatches: list[str] = []
        self.left: list[str] = []
        self.completed, self.run_seconds = 0, 0.0

    def start(self, name: str) -> Run:
        options = self.options
        command = [*(PLAIN if options.plain else COMMAND), f"--store={self.folder / name}"]
        command += [f"--{name}={getattr(options, name)}" for name in ("preset", "engine", "threads", "device")]
        command += [f"--workers={options.workers}"] if options.workers else []
        command += [f"--set={assignment}" for assignment in options.set]
        return Run(command, self.folder / f"{name}.log", PREFECT_HOME=str(self.folder / "prefect"))

    def reference(self) -> None:
        """One run that nobody interrupts."""
        shutil.rmtree(self.folder / "reference", ignore_errors=True)
        print("a run that nobody interrupts ...", flush=True)
        with self.start("reference") as run:
            self._finish(run, 24 * 3600)
        self.run_seconds = time.time() - run.began
        print(f"took {self.run_seconds:.1f} s", flush=True)

    def kill_many(self) -> None:
        """Kill until there were enough kills, then let the last run come to its end."""
        while len(self.kills) < self.options.kills:
            name = f"run-{self.completed:04d}"
            shutil.rmtree(self.folder / name, ignore_errors=True)
            while self._killed(name):
                pass
            self._compare(name)

    def _killed(self, name: str) -> bool:
        """Start a run, and kill it, unless it comes to its end before."""
        delay = self.instants.uniform(0, self.options.longest or self.run_seconds)
        with self.start(name) as run:
            if len(self.kills) >= self.options.kills:
                self._finish(run, 24 * 3600)
                return False
            kill = kill_after(run, delay, self.folder / name, alone=self.options.alone)
            self._note_processes(run)
        if kill is None:
            return False
        self.kills.append(kill)
        where = f"in {kill.stage}, {kill.kept} kept, {kill.lost:.1f} s lost" if kill.stage else "between stages"
        print(f"kill {len(self.kills)} of {self.options.kills}: {name} after {kill.delay:.1f} s, {where}", flush=True)
        return True

    def _finish(self, run: Run, seconds: float) -> None:
        if run.ended(seconds) != 0:
            raise SystemExit(f"a run that nobody killed failed: {run.log}")
        self._note_processes(run)

    def _note_processes(self, run: Run) -> None:
        self.left += [f"process {command}" for command in run.gone()]

    def _compare(self, name: str) -> None:
        """A run that came to its end: its bytes, its manifests, what it left, and in how many attempts it was made."""
        store, reference = self.folder / name, self.folder / "reference"
        wrong = [f"{name}/{file}" for file in differing(store, reference)]
        wrong += [f"{name}: manifests"] if lasting(store) != lasting(reference) else []
        left = leftovers(store)
        self.mismatches += wrong
        self.left += left
        self.completed += 1
        for stage, number in attempts(store).items():
            self.attempts.setdefault(stage, Counter())[number] += 1
        print(f"{name} came to its end: {len(wrong)} differences, {len(left)} left over", flush=True)
        if not (wrong or left or self.options.keep):
            shutil.rmtree(store)
            os.unlink(f"{store}.log")

    def summary(self) -> dict[str, Any]:
        by_stage = Counter(kill.stage or "between stages" for kill in self.kills)
        return {
            "command": "plain" if self.options.plain else "fedsyn run",
            "preset": self.options.preset,
            "set": self.options.set,
            "engine": self.options.engine,
            "threads": self.options.threads,
            "seed": self.options.seed,
            "kills": len(self.kills),
            "completed_runs": self.completed,
            "kills_by_stage": dict(by_stage.most_common()),
            "kills_after_a_checkpoint": sum(kill.kept > 0 for kill in self.kills),
            "runs_by_attempts": {stage: dict(sorted(self.attempts[stage].items())) for stage in self.attempts},
            "seconds_of_an_uninterrupted_run": round(self.run_seconds, 1),
            "seconds_of_killed_runs": round(sum(kill.delay for kill in self.kills), 1),
            "seconds_of_work_lost": round(sum(kill.lost for kill in self.kills), 1),
            "most_seconds_lost_by_a_kill": round(max((kill.lost for kill in self.kills), default=0.0), 1),
            "mismatching": len(self.mismatches),
            "mismatches": self.mismatches,
            "left_over": self.left,
            "seconds": round(time.monotonic() - self.began, 1),
        }


if __name__ == "__main__":
    sys.exit(main())
