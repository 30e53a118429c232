"""`fedsyn up` as a real process, asked over its API and looked at with a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fedsyn.artifacts import Store
from tests.e2e.killing import ROOT
from tests.e2e.killing import until as come_true
from tests.processes import with_environment

COMMAND = Path(sys.executable).with_name("fedsyn")
PREFECT = Path(sys.executable).with_name("prefect")
FINAL = ("Completed", "Failed", "Crashed", "Cancelled")


def browser_path() -> str | None:
    """A Chromium of this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def until(true: Any, seconds: float) -> bool:
    """Whether something comes true within so many seconds, without keeping the server busy with the question."""
    return come_true(true, seconds, every=0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Site:
    """A site that runs: its address, its store, and the file of what it says."""

    url: str
    reports_url: str
    home: Path
    store: Store
    log: Path
    process: subprocess.Popen

    @property
    def environment(self) -> dict[str, str]:
        """Of a `prefect` command that talks to this site."""
        return os.environ | {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_HOME": str(self.home), "DO_NOT_TRACK": "1"}

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """An answer of Prefect's API, which on SQLite and a busy machine may ask for another try."""
        for _ in range(20):
            headers = {} if method == "GET" else self._token()
            answer = httpx.request(method, f"{self.url}/api/{path}", json=body or None, headers=headers, timeout=60)
            if answer.status_code != 503:
                break
            time.sleep(1)
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def _token(self) -> dict[str, str]:
        """What a request that changes something has to carry."""
        answer = httpx.get(f"{self.url}/api/csrf-token", params={"client": "tests"}, timeout=60)
        if not answer.is_success:
            return {}
        return {"Prefect-Csrf-Token": answer.json()["token"], "Prefect-Csrf-Client": "tests"}

    def deployment(self, name: str) -> str:
        """Its id."""
        return self.ask("GET", f"deployments/name/{name}")["id"]

    def submit(self, name: str, **parameters: Any) -> str:
        """The id of a new run of a deployment."""
        path = f"deployments/{self.deployment(name)}/create_flow_run"
        return self.ask("POST", path, parameters=parameters, state={"type": "SCHEDULED"})["id"]

    def run(self, flow_run: str) -> dict[str, Any]:
        return self.ask("GET", f"flow_runs/{flow_run}")

    def wait(self, flow_run: str, *names: str, seconds: float = 500) -> dict[str, Any]:
        """The run when its state has one of these names (default: when it has ended)."""
        until(lambda: self.run(flow_run)["state_name"] in (names or FINAL), seconds)
        return self.run(flow_run)

    def stages(self, flow_run: str, attempt: int = 1) -> dict[str, str]:
        """The states of the tasks of a run's attempt, by name."""
        tasks = self.ask("POST", "task_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
        return {task["name"]: task["state_name"] for task in tasks if task["flow_run_run_count"] == attempt}

    def artifacts(self, flow_run: str) -> dict[str, Any]:
        """The artifacts of a run, by key."""
        found = self.ask("POST", "artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run]}})
        return {artifact["key"]: artifact for artifact in found}

    def processes(self, *more: str) -> list[int]:
        """The processes of this site on this machine; with `more`, those that have this in their environment, too."""
        return with_environment(f"PREFECT_HOME={self.home}", *more)

    def children(self, flow_run: str) -> list[int]:
        """The processes that carry out a run."""
        return self.processes(f"PREFECT__FLOW_RUN_ID={flow_run}")

    def stop(self) -> list[int]:
        """Press Ctrl-C; the processes that are left when `fedsyn up` has ended, which do not outlive this."""
        self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(120)
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    def retry(self, flow_run: str) -> None:
        """As a person does in a terminal."""
        command = [PREFECT, "flow-run", "retry", flow_run]
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=120)


@contextmanager
def site(folder: Path, workers: int) -> Iterator[Site]:
    """A site with its own Prefect home and store, until the context ends; then Ctrl-C has to leave nothing."""
    port, reports_port = free_port(), free_port()
    command = [COMMAND, "up", "--port", str(port), "--reports-port", str(reports_port), "--workers", str(workers)]
    log, store, home = folder / "up.log", folder / "store", folder / "prefect"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--store", str(store)],
            cwd=ROOT,
            env=os.environ | {"PREFECT_HOME": str(home), "COLUMNS": "200"},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    address = "http://127.0.0.1"
    running = Site(f"{address}:{port}", f"{address}:{reports_port}", home, Store(store), log, process)
    try:
        assert until(lambda: "ready" in log.read_text() or process.poll() is not None, 240)
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        left = running.stop()
    assert process.returncode == 0, log.read_text()
    assert left == []


def parent(pid: int) -> int:
    """The process that started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
