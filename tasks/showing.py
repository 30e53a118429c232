"""Showing things in Prefect's UI, which no result depends on."""

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

logger = logging.getLogger("fedsyn")

IN_A_HURRY = {PREFECT_API_REQUEST_TIMEOUT: 5.0, PREFECT_CLIENT_MAX_RETRIES: 1}
"""For what a training waits for."""


@contextmanager
def shown(what: str) -> Iterator[None]:
    """Make or change artifacts in the body. A server that does not take them, or not soon, costs a warning and no
    result."""
    try:
        with temporary_settings(IN_A_HURRY):
            yield
    except Exception as error:  # whatever a server and its client may raise
        logger.warning("%s cannot be shown in Prefect: %s", what, error)


def picture_in_markdown(name: str, png: bytes) -> str:
    """A PNG inside markdown, as Prefect's UI shows it."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"
