"""Prefect's settings that matter here, in one place. What the user's environment says wins."""

from collections.abc import MutableMapping

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",  # a web page elsewhere cannot send requests in one's name
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "150",  # a first start makes a database
    "PREFECT_LOGGING_EXTRA_LOGGERS": "fedsyn",  # rounds and warnings appear in the UI's logs
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least that Prefect allows; `automations.yaml` waits for three
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://localhost:4200",  # not every page that a browser here has open
    "PREFECT_WORKER_QUERY_SECONDS": "2",  # how long a submitted run waits for a worker to look
}

LOOPBACK = ("127.0.0.1", "localhost")
"""Addresses that only this machine reaches."""


def apply(environment: MutableMapping[str, str]) -> None:
    """Set what is not set yet. Has to come before Prefect is imported, which reads them once."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
