"""Prefect's server for a run that was started without one."""

import atexit
import signal
import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL

from fedsyn.interruption import SIGNALS


class OwnServer(SubprocessASGIServer):
    """Prefect's, but it ends with the run even if that is killed: a process of its own waits for the run's end."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        server = super()._run_uvicorn_command()
        command = ["sh", "-c", 'read -r _; kill -9 "$0"', str(server.pid)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL  # the kernel closes the pipe, however the run ends
        self._watcher = subprocess.Popen(command, stdin=pipe, stdout=nowhere, stderr=nowhere, start_new_session=True)
        return server


def start_own_server() -> None:
    """Start it, unless there is one, so that it outlives the run's interruption.

    A terminal and a batch system send their signals to all processes of a group. Prefect's server would end at once,
    and the run, which has to tell it how it ended, wait for it: so the server is born with these signals blocked.
    """
    if PREFECT_API_URL.value():
        return
    server = OwnServer()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert server.server_process is not None
    atexit.register(server.server_process.kill)  # before Prefect's own way, which it cannot hear
