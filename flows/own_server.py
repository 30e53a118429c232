"""Prefect's server for a run that was started without one."""

import atexit
import signal

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL

from fedsyn.interruption import SIGNALS


def start_own_server() -> None:
    """Start it, unless there is one, so that it outlives the run's interruption.

    A terminal and a batch system send their signals to all processes of a group. Prefect's server would end at once,
    and the run, which has to tell it how it ended, wait for it: so the server is born with these signals blocked.
    """
    if PREFECT_API_URL.value():
        return
    server = SubprocessASGIServer()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert server.server_process is not None
    atexit.register(server.server_process.kill)  # before Prefect's own way, which it cannot hear
