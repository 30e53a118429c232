"""What the commands that run flows share: their options, Prefect, and how the end of a run is told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError

from fedsyn.artifacts import Store, StoreError
from fedsyn.cli.shared import console, refuse
from fedsyn.config import Execution
from fedsyn.data.catalogue import DatasetError
from fedsyn.interruption import EXIT_CODE, Interrupted
from fedsyn.pipeline import resolve_device, store_of
from fedsyn.presets import explain
from fedsyn.terminal import StageProgress

Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Seed; repeat the option for several runs")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Threads = Annotated[int | None, typer.Option(help="Threads inside an operation on a CPU; default: all cores")]
Engine = Annotated[str, typer.Option(help="How clients are trained: auto, sequential, processes, vectorized or ray")]
Workers = Annotated[
    int | None, typer.Option(help="Workers of processes and ray; default: one a core, or one a GPU of several")
]

EXPECTED = (ValueError, DatasetError, StoreError)
"""What bad input or a bad training raises: the message says it all, a traceback would hide it."""

GOES_ON = "Finished stages are in the store; the same command goes on from there."


def execution_of(overrides: dict[str, object], **options: object) -> tuple[Execution, Store]:
    """How to run, and the store: the command's options, and what `--set execution.field=value` says.

    The latter are taken out of `overrides`; what is left there is the experiment's.
    """
    try:
        more = [name for name in overrides if name.startswith("execution.")]
        options |= {name.removeprefix("execution."): overrides.pop(name) for name in more}
        execution = Execution.model_validate(options)
        store = store_of(execution)
        if execution.device.startswith("cuda"):  # asking costs PyTorch's import, which a cached run does without
            resolve_device(execution.device)
    except ValidationError as error:
        refuse(explain(error))
    except (ValueError, StoreError) as error:
        refuse(str(error))
    return execution, store


@contextmanager
def starting_prefect() -> Iterator[None]:
    """The place to import a flow: late, since Prefect reads its settings when it is imported. The user's own win."""
    from flows.settings import apply

    apply(os.environ)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with console.status("Starting Prefect (ten to thirty seconds the first time)"):
        yield
        from flows.own_server import start_own_server

        start_own_server()


@contextmanager
def carried_out() -> Iterator[None]:
    """The place to call a flow: its stages are bars, and however it fails is said before the command leaves."""
    with StageProgress(console) as progress:
        try:
            yield
        except Interrupted as error:
            progress.stop()
            refuse(str(error), EXIT_CODE)
        except EXPECTED as error:
            progress.stop()
            refuse(f"{error}\n{GOES_ON}")
        except Exception:
            progress.stop()
            console.print_exception()
            refuse(GOES_ON)
