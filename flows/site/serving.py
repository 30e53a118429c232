"""A whole site on one machine: Prefect's server, work pools, deployments, workers, and a server for the reports.

Each part is what a person would start by hand (docs/prefect.md has the commands); here they are started in order,
watched, and stopped in the opposite order.
"""

import functools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.settings import LOOPBACK, SETTINGS
from flows.site.parts import ROOT, Part, SiteError, Worker
from flows.site.reports import file_server
from flows.site.setup import POOLS, activate, active_schedules, ensure_automations, ensure_pool, is_online

AnyPart = TypeVar("AnyPart", bound=Part)


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
                ensure_pool(client, pool, limit)
            ensure_automations(client)
            say(f"work pools: {', '.join(POOLS)}; runs whose heartbeat stops are marked Crashed")

            active = active_schedules(client)
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
            activate(client, active)
            say(f"deployments: {site.url}/deployments")
            for worker in (*workers, batches):
                worker.wait_until(functools.partial(is_online, client, worker.name))
            say(f"workers: {', '.join(worker.name for worker in (*workers, batches))}")

        if site.reports_url:
            stack.enter_context(file_server(site.store, site.host, site.reports_port))
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
