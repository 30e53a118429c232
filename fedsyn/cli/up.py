"""`fedsyn up`: Prefect's server, pools, deployments and workers on this machine, until Ctrl-C."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fedsyn.cli.shared import StoreUrl, console, refuse
from fedsyn.interruption import SIGNALS

ENDINGS = (*SIGNALS, signal.SIGHUP)
"""Signals that stop the site: Ctrl-C, a service manager, and the terminal that is closed."""


def up(
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach needs a password")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of Prefect's server and UI")] = 4200,
    reports_port: Annotated[int, typer.Option(help="Port at which reports and artifacts can be read")] = 4201,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers, each with one run at a time; default: one a GPU, or one")
    ] = None,
    store: StoreUrl = "artifacts",
    settings: Annotated[
        bool, typer.Option("--settings", help="Print Prefect's settings as shell exports, and end")
    ] = False,
) -> None:
    """Start everything that runs from Prefect's UI need, on this machine: server, work pools, deployments, workers.

    Ctrl-C stops it; runs keep what they have, and Retry in the UI goes on from there. Settings come from the
    environment: PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL (Postgres), FEDSYN_DATA, FEDSYN_DEVICE, ...
    """
    from flows.settings import LOOPBACK, SETTINGS, apply

    if settings:
        for name, value in SETTINGS.items():
            print(f'export {name}="${{{name}:-{value}}}"')
        return
    passwords = {os.environ.get(f"PREFECT_{side}API_AUTH_STRING") for side in ("", "SERVER_")}
    if len(passwords) > 1:
        refuse(
            "PREFECT_SERVER_API_AUTH_STRING and PREFECT_API_AUTH_STRING must both be set, and to the same USER:PASSWORD"
        )
    if host not in LOOPBACK and passwords == {None}:
        refuse(
            f"host {host!r} lets other machines start runs here: set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, and "
            f"PREFECT_API_AUTH_STRING to the same, or use 127.0.0.1 behind a proxy that asks for a password"
        )
    apply(os.environ)
    with console.status("Starting Prefect"):
        from flows.site.parts import SiteError
        from flows.site.serving import Site, serving

    for number in ENDINGS:
        signal.signal(number, _leave)
    try:
        place = store if "://" in store else str(Path(store).expanduser().absolute())
        with serving(Site(host, port, reports_port, place, _devices(workers)), _say) as check:
            _say("ready; Ctrl-C stops it")
            while True:
                check()
                time.sleep(0.5)
    except SiteError as error:
        refuse(str(error), 1)
    except KeyboardInterrupt:
        _say("stopped; runs have kept what they had")


def _devices(workers: int | None) -> list[str]:
    """The GPU of each worker, an empty string for one that computes on CPUs."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    gpus = visible.split(",")[:count]
    return [gpus[number % len(gpus)] if gpus else "" for number in range(workers or len(gpus) or 1)]


def _leave(number: int, frame: FrameType | None) -> None:
    """End the command, once: what stops the parts is not to be interrupted."""
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)
