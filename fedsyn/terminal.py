"""Progress bars in a terminal, fed by the progress records of the stages."""

import logging
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as TimeLeft

from fedsyn.context import Progress as Event

logger = logging.getLogger("fedsyn")


class StageProgress(logging.Handler):
    """One bar a stage while the context is open: units done, loss, accuracy, time left. In the next of several runs it
    starts anew.

    Where the console is no terminal (a log file), one line every tenth of a stage instead.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(),
            TextColumn("{task.fields[measured]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.tenths: dict[tuple[str, str], int] = {}

    def __enter__(self) -> "StageProgress":
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Freeze the bars and stop listening."""
        logger.removeHandler(self)
        self.bars.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Draw one progress record, print one warning, and dimly what else the stages tell."""
        event: Event | None = getattr(record, "progress", None)
        if event is None:
            if record.levelno >= logging.WARNING:
                self.console.print(f"{record.levelname.lower()}: {record.getMessage()}", style="yellow", soft_wrap=True)
            elif record.levelno >= logging.INFO:
                self.console.print(record.getMessage(), style="dim", soft_wrap=True, highlight=False)
            return
        if not self.console.is_terminal:
            tenth, artifact = 10 * event.done // event.total, (event.stage, event.key)
            if tenth > self.tenths.get(artifact, 0):
                self.tenths[artifact] = tenth
                self.console.print(record.getMessage(), highlight=False, soft_wrap=True)
            return
        measured = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in event.metrics.items())
        shown: dict[str, Any] = {"unit": event.unit, "measured": "", "key": event.key}
        if event.stage not in self.tasks:
            self.tasks[event.stage] = self.bars.add_task(event.stage, **shown)
        bar = self.tasks[event.stage]
        if self.bars.tasks[bar].fields["key"] != event.key:
            self.bars.reset(bar, **shown)
        self.bars.update(bar, total=event.total, completed=event.done, measured=measured)
