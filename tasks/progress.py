"""What a stage in progress shows in Prefect's UI: a bar that moves, and the curves so far."""

import io
import logging
import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.settings import temporary_settings

from fedsyn.context import Progress
from fedsyn.report.text import duration
from tasks.showing import IN_A_HURRY, picture_in_markdown

logger = logging.getLogger("fedsyn")
logger.setLevel(logging.INFO)  # Prefect forwards its lines to the UI, but leaves its level as it is

COST = 100
"""An artifact is refreshed only after so many times what its last refresh took: showing costs at most 1 %."""


class ShownProgress(logging.Handler):
    """Shows the progress records of one stage while the context is open, as two artifacts in Prefect's UI.

    A server that does not answer never stops a stage: what cannot be shown is left out, with one warning.
    """

    def __init__(self, stage: str) -> None:
        super().__init__(logging.INFO)
        self.stage = stage
        self.first: tuple[float, Progress] | None = None
        self.last: Progress | None = None
        self.failed = False
        self.bar = Refreshed(2.0, self._show_bar)
        self.curves = Refreshed(15.0, self._show_curves)

    def __enter__(self) -> "ShownProgress":
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger.removeHandler(self)
        if self.last is not None:
            self._show(self.last, now=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a progress record of the stage, if it is time to."""
        event: Progress | None = getattr(record, "progress", None)
        if event is not None and event.stage == self.stage:
            self.first = self.first or (time.monotonic(), event)
            self.last = event
            self._show(event)

    def _show(self, event: Progress, *, now: bool = False) -> None:
        if self.failed:
            return
        try:
            self.bar.refresh(event, now=now)
            if len(event.course) > 1:
                self.curves.refresh(event, now=now)
        except Exception as error:  # whatever a server and its client may raise: the stage is what counts
            self.failed = True
            logger.warning("%s: its progress is no longer shown in Prefect: %s", event.stage, error)

    def _show_bar(self, event: Progress, shown: UUID | None) -> UUID:
        share, text = 100 * event.done / event.total, self._in_words(event)
        if shown is None:
            return cast(UUID, create_progress_artifact(share, f"{_slug(self.stage)}-progress", text))
        return cast(UUID, update_progress_artifact(shown, share, text))

    def _show_curves(self, event: Progress, shown: UUID | None) -> UUID:
        from fedsyn.report.live import course_so_far  # matplotlib, which most stages do without
        from fedsyn.report.preview import preview
        from fedsyn.report.theme import png

        picture = preview(io.BytesIO(png(course_so_far(event.course, event.total))))
        text = f"# {self.stage}\n\n{picture_in_markdown(self.stage, picture)}\n\n{self._in_words(event)}"
        if shown is None:
            place = f"Curves so far (store: {event.stage}/{event.key})"
            return cast(UUID, create_markdown_artifact(text, f"{_slug(self.stage)}-curves", place))
        with get_client(sync_client=True) as client:
            client.update_artifact(shown, ArtifactUpdate(data=text))
        return shown

    def _in_words(self, event: Progress) -> str:
        assert self.first is not None
        began, first = self.first
        return in_words(event, first, time.monotonic() - began)


def in_words(event: Progress, first: Progress, seconds: float) -> str:
    """`rounds 12 of 20, train loss 0.41, 5,210 images/s, 31 s left (store: classifier/0f...)`.

    Rate and time left are those since `first`, `seconds` ago: what an earlier attempt did says nothing about this one.
    """
    parts = [f"{event.unit} {event.done:,} of {event.total:,}"]
    parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in event.metrics.items()]
    if done := event.done - first.done:
        if images := event.images - first.images:
            parts.append(f"{images / seconds:,.0f} images/s")
        if left := event.total - event.done:
            parts.append(f"{duration(seconds / done * left)} left")
    return f"{', '.join(parts)} (store: {event.stage}/{event.key})"


class Refreshed:
    """An artifact that is refreshed now and then.

    `show(event, shown)` makes it, or changes the one with the id `shown`, and returns its id.
    """

    def __init__(self, seconds: float, show: Callable[[Progress, UUID | None], UUID]) -> None:
        """At least `seconds` lie between two refreshes."""
        self.seconds, self.show = seconds, show
        self.shown: UUID | None = None
        self.next = 0.0

    def refresh(self, event: Progress, *, now: bool) -> None:
        """Show the event if it is time to, or `now`."""
        began = time.monotonic()
        if began < self.next and not now:
            return
        with temporary_settings(IN_A_HURRY):
            self.shown = self.show(event, self.shown)
        ended = time.monotonic()
        self.next = ended + max(self.seconds, COST * (ended - began))


def _slug(stage: str) -> str:
    """Prefect's artifact keys have dashes for underscores."""
    return stage.replace("_", "-")
