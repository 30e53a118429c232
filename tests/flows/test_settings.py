"""Prefect's settings: the user's own win, and a page of somebody else's may not talk to the server."""

import json

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


@pytest.mark.e2e
def test_nor_does_it_send_what_needs_no_permission(prefect_server):
    """What has no content type is sent without asking first; it lacks the token that Prefect's own pages carry."""
    from prefect.settings import PREFECT_API_URL

    automation = {"name": "unwanted", "trigger": {"type": "event", "posture": "Reactive"}, "actions": []}
    for path in ("automations/", "work_pools/", "flows/"):
        content = json.dumps(automation | {"type": "process"}).encode()
        answer = httpx.post(f"{PREFECT_API_URL.value()}/{path}", content=content, timeout=30)
        assert answer.status_code == 403, answer.text
