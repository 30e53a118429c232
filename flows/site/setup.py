"""What Prefect's server has to hold for us: work pools, automations, and schedules that stay on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import WorkerStatus
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

FLOWS_FOLDER = Path(__file__).parents[1]

FLOWS = ("ddsa-fssl", "ablation")

POOLS = {"gpu-pool": None, "orchestrator-pool": 4}
"""Work pools, and how many runs each carries out at once. Batches have a pool of their own: in one pool they could take
the places that their runs wait for."""


def is_online(client: SyncPrefectClient, name: str) -> bool:
    """Whether a worker of this name has lately been heard of."""
    workers = [worker for pool in POOLS for worker in client.read_workers_for_work_pool(pool)]
    return any(worker.name == name and worker.status == WorkerStatus.ONLINE for worker in workers)


def ensure_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    """Make the pool unless there is one: its owner may have changed it."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = json.loads((FLOWS_FOLDER / "process-pool.json").read_text(encoding="utf-8"))
        pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
        client.create_work_pool(pool)


def ensure_automations(client: SyncPrefectClient) -> None:
    """Make the automations that there are not yet."""
    for wanted in yaml.safe_load((FLOWS_FOLDER / "automations.yaml").read_text(encoding="utf-8"))["automations"]:
        if not client.read_automations_by_name(wanted["name"]):
            client.create_automation(AutomationCore.model_validate(wanted))


def _schedules(client: SyncPrefectClient) -> Iterator[tuple[Any, Any]]:
    """Our deployments, each with each of its schedules."""
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    for found in client.read_deployments(flow_filter=ours):
        yield from ((found, schedule) for schedule in found.schedules)


def active_schedules(client: SyncPrefectClient) -> set[tuple[UUID, str]]:
    """The schedules that somebody has switched on: deploying again would switch them off."""
    return {(found.id, repr(schedule.schedule)) for found, schedule in _schedules(client) if schedule.active}


def activate(client: SyncPrefectClient, active: set[tuple[UUID, str]]) -> None:
    """Switch these schedules on."""
    for found, schedule in _schedules(client):
        if (found.id, repr(schedule.schedule)) in active:
            client.update_deployment_schedule(found.id, schedule.id, active=True)
