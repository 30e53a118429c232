"""A run without Prefect, to be killed: `python -m tests.e2e.plain --store DIR`.

With `--serve`, it imports everything once and forks a run for each line that it reads, in a session of its own, and
tells its process and its end. Runs are then killed without ten seconds of imports each; several may run at once.
"""

import argparse
import hashlib
import importlib
import json
import logging
import os
import signal
import sys

from fedsyn import pipeline
from fedsyn.artifacts import StoreError
from fedsyn.config import Execution
from fedsyn.graph import STAGES
from fedsyn.interruption import EXIT_CODE, Interrupted
from fedsyn.presets import load_experiment, parse_assignments


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.plain", description=__doc__)
    parser.add_argument(
        "--serve", action="store_true", help="fork runs: one a line, a JSON list of its environment and these options"
    )
    parser.add_argument("--log", help="file for all that a forked run says")
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[])
    parser.add_argument("--store", default="artifacts")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return serve() if options.serve else run(options)


def run(options: argparse.Namespace) -> int:
    """One run; the exit codes are those of `fedsyn run`."""
    logging.basicConfig(level=logging.INFO, format="%(created).3f %(process)d %(levelname)s %(message)s")
    overrides = parse_assignments(options.set)
    more = {name: overrides.pop(name) for name in list(overrides) if name.startswith("execution.")}
    execution = {name.removeprefix("execution."): value for name, value in more.items()}
    execution |= {name: getattr(options, name) for name in ("store", "engine", "workers", "threads", "device")}
    try:
        results = pipeline.run(load_experiment(options.preset, overrides), Execution.model_validate(execution))
    except Interrupted as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    digests = {name: hashlib.sha256(result.manifest.sealed().encode()).hexdigest() for name, result in results.items()}
    computed = [name for name, result in results.items() if not result.cached]
    print(json.dumps({"computed": computed, "manifests": digests}))
    return 0


def serve() -> int:
    """Import everything once, and fork runs."""
    for module in ("torch._dynamo", *(f"fedsyn.stages.{stage.name}" for stage in STAGES)):
        importlib.import_module(module)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those that watch have ended
    for line in sys.stdin:
        if os.fork() == 0:
            _watch(*json.loads(line))
    return 0


def _watch(environment: dict[str, str], arguments: list[str]) -> None:
    """In a forked process: fork the run, and tell its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _become(environment, arguments)
    _, status = os.waitpid(child, 0)
    os.write(1, f"ended {child} {os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(environment: dict[str, str], arguments: list[str]) -> None:
    """In a process forked from that one: run, and leave."""
    os.setsid()
    os.environ |= environment
    os.write(1, f"started {os.getpid()}\n".encode())
    log = os.open(arguments[arguments.index("--log") + 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os._exit(main(arguments))
    finally:  # an error: the log tells it
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
