"""Prefect's settings: the user's own win, and a page of somebody else's may not talk to the server."""

import httpx
import pytest

from flows.settings import SETTINGS, apply


def test_what_the_environment_says_wins():
    environment = {"PREFECT_WORKER_QUERY_SECONDS": "7", "HOME": "/home"}
    apply(environment)
    assert environment == SETTINGS | {"PREFECT_WORKER_QUERY_SECONDS": "7", "HOME": "/home"}


@pytest.mark.e2e
@pytest.mark.parametrize(("origin", "allowed"), [("https://elsewhere.example", False), ("http://localhost:4200", True)])
def test_a_page_from_elsewhere_that_a_browser_has_open_makes_no_deployments(prefect_server, origin, allowed):
    """A server on loopback is no wall against those: the browser runs on this machine."""
    from prefect.settings import PREFECT_API_URL

    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = httpx.options(f"{PREFECT_API_URL.value()}/deployments/", headers=asked, timeout=30)
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    assert answer.is_success is allowed
