"""A whole site on one machine: Prefect's server, work pools, deployments, workers, and a server for the reports.

Each part is what a person would start by hand (docs/prefect.md has the commands); here they are started in order,
watched, and stopped in the opposite order.
"""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import WorkerStatus
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.settings import LOOPBACK, SETTINGS

HERE = Path(__file__).parent
ROOT = HERE.parent
POOLS = {"gpu-pool": None, "orchestrator-pool": 4}
"""Work pools, and how many runs each carries out at once. Batches have a pool of their own: in one pool they could take
the places that their runs wait for."""

FLOWS = ("ddsa-fssl", "ablation")

START = 180.0
"""Seconds that a part may take to start; the first start makes a database."""

STOP = 40.0
"""Seconds that a part may take to stop: longer than Prefect waits for a run to leave."""


AnyPart = TypeVar("AnyPart", bound="Part")


class SiteError(Exception):
    """The site cannot be started, or a part of it has ended; the message says which, and where its log is."""


@dataclass(frozen=True)
class Site:
    """What is served, where."""

    host: str
    port: int
    reports_port: int
    store: str
    devices: Sequence[str]
    """One worker for each, which carries out one run at a time: the number of a GPU, or an empty string for CPUs."""

    @property
    def share_of_the_cores(self) -> dict[str, str]:
        """Settings of a worker that computes on CPUs, the one for batches included, unless the environment says
        otherwise: workers that take all cores each are many times slower together than one."""
        cores = str(max(1, len(os.sched_getaffinity(0)) // len(self.devices)))
        return {name: os.environ.get(name) or cores for name in ("FEDSYN_THREADS", "FEDSYN_WORKERS")}

    @property
    def url(self) -> str:
        """Prefect's UI."""
        return f"http://{self.host}:{self.port}"

    @property
    def reports_url(self) -> str:
        """The reports in the store; empty where the store is not a folder of this machine, or others can reach the
        address: files are given to anybody who asks."""
        shared = "://" in self.store or self.host not in LOOPBACK
        return "" if shared else f"http://{self.host}:{self.reports_port}"


class Part:
    """A process of the site, with a log of its own."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self.log = PREFECT_HOME.value() / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *command],
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who stop the parts in order
            )

    def check(self) -> None:
        """
        Raises:
            SiteError: the process has ended.
        """
        if self.has_ended():
            last = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise SiteError(f"{self.ending()}:\n{last}")

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self.process.poll() is not None

    def ending(self) -> str:
        """How it ended, and where its log is."""
        return f"{self.name} ended with status {self.process.returncode} ({self.log})"

    def wait_until(self, true: Callable[[], bool]) -> None:
        """
        Raises:
            SiteError: the process has ended, or it takes too long.
        """
        end = time.monotonic() + START
        while not true():
            self.check()
            if time.monotonic() > end:
                raise SiteError(f"{self.name} has not started within {START:.0f} s; its log is {self.log}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Ask the process to end, and end it and what it has started if it does not."""
        if not self.has_ended():
            self.process.terminate()
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Worker(Part):
    """A worker, and the runs that it carries out: processes in sessions of their own, which outlive it."""

    asked = False

    def stop(self) -> None:
        """Let the runs stop, which keeps what they have, then end the worker."""
        self.ask_runs()
        end = time.monotonic() + STOP
        while (left := self.runs()) and time.monotonic() < end:
            time.sleep(0.2)
        if not self.has_ended():
            self.process.kill()
            self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask_runs(self) -> None:
        """Ask the runs to stop, once: to be asked twice ends a run at once. The worker stands still meanwhile: asked to
        stop it would kill them, and without it they cannot write their logs."""
        if self.asked:
            return
        self.asked = True
        if not self.has_ended():
            os.kill(self.process.pid, signal.SIGSTOP)
        for pid in self.runs():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def runs(self) -> list[int]:
        """The processes that carry out its runs, told by what the worker gives them to know."""
        marks = {f"PREFECT__WORKER_NAME={self.name}".encode(), f"PREFECT_API_URL={PREFECT_API_URL.value()}".encode()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it is over, or another user's
                if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                    found.append(int(folder.name))
        return found


@contextmanager
def serving(site: Site, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Start the site, saying of each part that it is there, and stop it when the context ends.

    Gives a function to call now and then: it says which worker has ended, and raises SiteError where there is nothing
    left to wait for.

    Raises:
        SiteError: a part does not start.
    """
    api = f"{site.url}/api"
    environment = {
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": os.environ.get("PREFECT_SERVER_UI_API_URL", api),
        "FEDSYN_STORE": site.store,
        "FEDSYN_REPORTS_URL": site.reports_url,
        "FEDSYN_ROOT": str(ROOT),
    }
    origins = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
    if os.environ.get(origins) == SETTINGS[origins]:  # the user has not said another
        environment[origins] = f"http://localhost:{site.port}"
    with ExitStack() as stack:

        def start(kind: type[AnyPart], name: str, *command: str, **more: str) -> AnyPart:
            part = kind(name, command, environment | more)
            stack.callback(part.stop)
            return part

        stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
        _refuse_if_taken(site)
        server = start(Part, "server", "server", "start", "--host", site.host, "--port", str(site.port))
        server.wait_until(lambda: _is_healthy(f"{api}/health"))
        say(f"Prefect's UI: {site.url}")

        with get_client(sync_client=True) as client:
            for pool, limit in POOLS.items():
                _ensure_pool(client, pool, limit)
            _ensure_automations(client)
            say(f"work pools: {', '.join(POOLS)}; runs whose heartbeat stops are marked Crashed")

            active = _active_schedules(client)
            deploy = start(Part, "deploy", "--no-prompt", "deploy", "--all")
            workers = []
            for number, device in enumerate(site.devices):
                own = {"CUDA_VISIBLE_DEVICES": device} if device else site.share_of_the_cores
                workers.append(start(Worker, f"worker-{number}", *_worker(f"worker-{number}", "gpu-pool", 1), **own))
            stack.callback(_ask_all, workers)
            # started last, so that it is the first to stop, while the others can still end its runs
            batches = start(
                Worker, "orchestrator", *_worker("orchestrator", "orchestrator-pool", 4), **site.share_of_the_cores
            )
            if deploy.process.wait() != 0:
                deploy.check()
            _activate(client, active)
            say(f"deployments: {site.url}/deployments")
            for worker in (*workers, batches):
                worker.wait_until(functools.partial(_is_online, client, worker.name))
            say(f"workers: {', '.join(worker.name for worker in (*workers, batches))}")

        if site.reports_url:
            stack.enter_context(_reports(site))
            say(f"artifacts and reports: {site.reports_url}")

        def check() -> None:
            server.check()
            batches.check()
            for worker in [worker for worker in workers if worker.has_ended()]:
                workers.remove(worker)
                worker.ask_runs()
                if not workers:
                    worker.check()
                say(f"{worker.ending()}; its run stops, and can be retried on another worker")

        yield check


def _ask_all(workers: Sequence[Worker]) -> None:
    """Ask the runs of all workers to stop before the first one is waited for."""
    for worker in workers:
        worker.ask_runs()


def _worker(name: str, pool: str, limit: int) -> list[str]:
    return ["worker", "start", "--pool", pool, "--name", name, "--limit", str(limit)]


def _refuse_if_taken(site: Site) -> None:
    if not (ROOT / "prefect.yaml").is_file():
        raise SiteError(
            f"the deployments' file {ROOT / 'prefect.yaml'} is missing: start this from a checkout of fedsyn"
        )
    for port in (site.port, *([site.reports_port] if site.reports_url else [])):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((site.host, port))
            except OSError as error:
                raise SiteError(
                    f"{site.host}:{port} cannot be used ({error.strerror}), perhaps because another site runs there; "
                    "choose other ports with --port and --reports-port"
                ) from error


def _is_healthy(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).is_success
    return False


def _is_online(client: SyncPrefectClient, name: str) -> bool:
    pools = {name: client.read_workers_for_work_pool(name) for name in POOLS}
    return any(
        worker.name == name and worker.status == WorkerStatus.ONLINE for workers in pools.values() for worker in workers
    )


def _ensure_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    """Make the pool unless there is one: its owner may have changed it."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = json.loads((HERE / "process-pool.json").read_text(encoding="utf-8"))
        pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
        client.create_work_pool(pool)


def _ensure_automations(client: SyncPrefectClient) -> None:
    for wanted in yaml.safe_load((HERE / "automations.yaml").read_text(encoding="utf-8"))["automations"]:
        if not client.read_automations_by_name(wanted["name"]):
            client.create_automation(AutomationCore.model_validate(wanted))


def _schedules(client: SyncPrefectClient) -> Iterator[tuple[Any, Any]]:
    """Our deployments, each with each of its schedules."""
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    for found in client.read_deployments(flow_filter=ours):
        yield from ((found, schedule) for schedule in found.schedules)


def _active_schedules(client: SyncPrefectClient) -> set[tuple[UUID, str]]:
    """The schedules that somebody has switched on: deploying again would switch them off."""
    return {(found.id, repr(schedule.schedule)) for found, schedule in _schedules(client) if schedule.active}


def _activate(client: SyncPrefectClient, active: set[tuple[UUID, str]]) -> None:
    for found, schedule in _schedules(client):
        if (found.id, repr(schedule.schedule)) in active:
            client.update_deployment_schedule(found.id, schedule.id, active=True)


@contextmanager
def _reports(site: Site) -> Iterator[None]:
    """The store's files over HTTP, to be read with a browser."""
    handler = functools.partial(_Quiet, directory=site.store)
    with ThreadingHTTPServer((site.host, site.reports_port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    """Files of one folder, without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
