"""Showing things in Prefect's UI, which no result depends on."""

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES

logger = logging.getLogger("fedsyn")

IN_A_HURRY = {PREFECT_API_REQUEST_TIMEOUT: 15.0, PREFECT_CLIENT_MAX_RETRIES: 1}
"""Prefect's settings for what a training waits for: it asks for minutes otherwise."""


@contextmanager
def shown(what: str) -> Iterator[None]:
    """Make artifacts in the body. A server that does not take them costs a warning and no result."""
    try:
        yield
    except Exception as error:  # whatever a server and its client may raise
        logger.warning("%s cannot be shown in Prefect: %s", what, error)


def picture_in_markdown(name: str, png: bytes) -> str:
    """A PNG inside markdown, as Prefect's UI shows it."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"
