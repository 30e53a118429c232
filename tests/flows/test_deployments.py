"""What is deployed: a flow for each preset, a batch for each study, pools that take no command, notice of crashes."""

import json

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.schema_tools import is_valid_schema, validate
from prefect.utilities.templating import apply_values
from prefect.workers.process import ProcessJobConfiguration

from fedsyn.ablation import study_names, study_text
from fedsyn.config import Execution
from fedsyn.config.execution import variable
from fedsyn.presets import preset_names
from flows.ablation import ablation, compose
from flows.ddsa_fssl import ddsa_fssl
from flows.settings import SETTINGS
from flows.site.setup import POOLS
from tests.processes import ROOT

DEPLOYMENTS = {
    entry["name"]: entry for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
}
POOL = json.loads((ROOT / "flows/process-pool.json").read_text(encoding="utf-8"))
AUTOMATIONS = yaml.safe_load((ROOT / "flows/automations.yaml").read_text(encoding="utf-8"))["automations"]


def of(flow: str) -> dict[str, dict]:
    """The deployments of a flow, by name."""
    return {name: entry for name, entry in DEPLOYMENTS.items() if entry["entrypoint"].endswith(f":{flow}")}


def test_every_preset_and_every_study_has_a_deployment_of_its_name():
    assert of("ddsa_fssl").keys() == set(preset_names())
    assert of("ablation").keys() == set(study_names())
    assert of("ddsa_fssl").keys() | of("ablation").keys() == DEPLOYMENTS.keys()
    assert {entry["work_pool"]["name"] for entry in of("ddsa_fssl").values()} == {"gpu-pool"}
    assert {entry["work_pool"]["name"] for entry in of("ablation").values()} == {"orchestrator-pool"}
    assert POOLS.keys() == {"gpu-pool", "orchestrator-pool"}


@pytest.mark.parametrize("entry", of("ddsa_fssl").values(), ids=of("ddsa_fssl"))
def test_a_presets_deployment_runs_that_preset(entry):
    assert entry["parameters"] == {"preset": entry["name"]}
    assert validate(entry["parameters"], ddsa_fssl.parameters.model_dump_for_openapi()) == []


@pytest.mark.parametrize("entry", of("ablation").values(), ids=of("ablation"))
def test_a_studys_deployment_asks_what_the_study_asks_and_its_schedule_is_off(entry):
    parameters = entry["parameters"]
    assert validate(parameters, ablation.parameters.model_dump_for_openapi()) == []
    study = compose(parameters["study"], {}, {})
    assert study.name == entry["name"]
    assert parameters["where"] == ("gpu-pool" if study.preset == "fashion-mnist" else "here")
    assert len(study.runs()) == 3 * len(study.changes())
    question = study_text(study.name).splitlines()[0].removeprefix("# ")
    assert entry["description"].startswith(question)
    assert [schedule["active"] for schedule in entry["schedules"]] == [False]


def test_no_schedule_is_on_and_none_has_parameters_of_its_own():
    """Switching a schedule on or off in the UI would lose them."""
    schedules = [schedule for entry in DEPLOYMENTS.values() for schedule in entry.get("schedules", [])]
    assert all(schedule.keys() == {"cron", "timezone", "active"} for schedule in schedules)
    assert not any(schedule["active"] for schedule in schedules)


def test_every_deployment_checks_parameters_and_queues_what_is_too_much():
    for entry in DEPLOYMENTS.values():
        assert entry["enforce_parameter_schema"] is True
        assert entry["concurrency_limit"]["collision_strategy"] == "ENQUEUE"


# --- pools ---


def problems(**variables: object) -> list[str]:
    """What Prefect's server says to these job variables of a run."""
    found = validate(variables, POOL["variables"], ignore_required=True, allow_none_with_default=True)
    return [error.message for error in found]


FIXED = {name: SETTINGS[name] for name in ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "PREFECT_LOGGING_EXTRA_LOGGERS")}
"""What every run needs, whoever has started its worker: without its heartbeat it would be taken for dead."""


def test_a_pools_template_sets_variables_of_an_execution_and_two_settings_and_nothing_else():
    is_valid_schema(POOL["variables"])
    assert POOL["job_configuration"].keys() == {"env", "stream_output"}
    environment = POOL["job_configuration"]["env"]
    assert environment.items() >= FIXED.items()
    for name, value in environment.items() - FIXED.items():
        field = name.removeprefix("FEDSYN_").lower()
        assert name == variable(field)
        assert field in Execution.model_fields
        assert value == f"{{{{ {field} }}}}"
        assert field in POOL["variables"]["properties"]


@pytest.mark.parametrize(
    "variables",
    [{}, {"store": "artifacts"}, {"device": "cpu"}, {"device": "cuda:1", "threads": 4}, {"device": "auto"}],
)
def test_a_run_may_choose_device_threads_and_a_store_that_is_listed(variables):
    """They reach the run's process as text in its environment; what is not chosen is the worker's own."""
    assert problems(**variables) == []
    job = ProcessJobConfiguration(**apply_values(POOL["job_configuration"], variables, remove_notset=True))
    assert job.env == FIXED | {variable(name): str(value) for name, value in variables.items()}
    assert Execution.on(job.env) == Execution(**variables)
    assert (job.command, job.working_dir) == (None, None)


@pytest.mark.parametrize(
    "name", ["command", "env", "env.FEDSYN_STORE", "working_dir", "name", "labels", "cache", "ray_address"]
)
@pytest.mark.parametrize("value", ["rm -r /", {"FEDSYN_STORE": "/elsewhere"}], ids=["text", "mapping"])
def test_a_run_may_set_nothing_else(name, value):
    assert problems(**{name: value}) == [f"Additional properties are not allowed ({name!r} was unexpected)"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", "/elsewhere"),
        ("store", "artifacts/../elsewhere"),
        ("store", "s3://others/store"),
        ("device", "cpu; rm -r /"),
        ("device", "{{ prefect.blocks.secret.token }}"),
        ("threads", 0),
        ("threads", 1.5),
        ("threads", "2; rm -r /"),
    ],
)
def test_a_value_that_is_not_foreseen_is_refused(name, value):
    assert len(problems(**{name: value})) == 1


# --- automations ---


def test_a_run_is_marked_crashed_after_three_heartbeats_without_one():
    (automation,) = [AutomationCore.model_validate(each) for each in AUTOMATIONS]
    beat, within = int(SETTINGS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]), automation.trigger.within.total_seconds()
    assert (beat, within) == (30, 90)
    assert automation.enabled
    assert automation.trigger.after == {"prefect.flow-run.heartbeat"}
    (action,) = automation.actions
    assert (action.type, action.state) == ("change-flow-run-state", "CRASHED")
    assert f"{within:.0f} seconds" in action.message


def test_every_way_in_which_a_run_may_stop_beating_is_expected():
    """A state that is missing here would mark a run Crashed that has long ended or waits."""
    (automation,) = [AutomationCore.model_validate(each) for each in AUTOMATIONS]
    ends = {"Completed", "Failed", "Cancelled", "Crashed", "AwaitingRetry", "Paused", "Suspended"}
    assert automation.trigger.expect == {"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)}
