"""Flows that really run, called as a command calls them and as a worker does that carries out a deployment's run."""

import re

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from fedsyn.artifacts import Store
from flows.ablation import ablation
from flows.ddsa_fssl import ddsa_fssl, name_of
from tests.e2e.tiny import OVERRIDES, STAGE_NAMES

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("prefect_server")]


def deployed(flow, **parameters):
    """The state of a run that a deployment asked for, carried out in this process."""
    with get_client(sync_client=True) as client:
        number = client.create_deployment(client.create_flow(flow), "deployed")
        run = client.create_flow_run_from_deployment(number, parameters=parameters)
    return run_flow(flow, flow_run=run, return_type="state")


@pytest.fixture(scope="module")
def called(prefect_server, tmp_path_factory):
    """A store that a flow which was called directly has named, and the run's results."""
    store = tmp_path_factory.mktemp("called") / "store"
    return store, ddsa_fssl("digits", OVERRIDES, {"store": str(store), "device": "cpu", "threads": 1})


@pytest.fixture
def machine(called, monkeypatch):
    """A machine whose store is that one."""
    for name, value in {"STORE": called[0], "DEVICE": "cpu", "THREADS": 1}.items():
        monkeypatch.setenv(f"FEDSYN_{name}", str(value))
    return Store(called[0])


def test_a_flow_that_is_called_may_name_its_store(called):
    store, results = called
    assert list(results) == STAGE_NAMES
    assert {name: result.cached for name, result in results.items()} == dict.fromkeys(STAGE_NAMES, False)
    assert {(name, result.manifest.key) for name, result in results.items()} == set(Store(store).names())


def test_a_deployments_run_uses_the_store_of_its_machine(called, machine):
    results = deployed(ddsa_fssl, preset="digits", overrides=OVERRIDES).result()
    assert all(result.cached for result in results.values())
    assert results["report"].manifest == called[1]["report"].manifest


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"execution": {"store": "/elsewhere"}}, "execution.store cannot be named"),
        ({"overrides": {"dataset.root": "/etc"}}, "dataset.root must lie in a data folder"),
    ],
)
@pytest.mark.parametrize("flow", [ddsa_fssl, ablation], ids=lambda flow: flow.name)
def test_a_deployments_run_that_names_other_places_is_refused(flow, parameters, words, machine):
    before = set(machine.names())
    with pytest.raises(ValueError, match=words):
        deployed(flow, **parameters).result()
    assert set(machine.names()) == before


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"overrides": {"synthesis.steps": 5000}}, r"synthesis.steps must be <= denoiser.timesteps \(1000\), got 5000"),
        ({"overrides": {"synthesis.step": 5}}, r"overrides.synthesis.step: Extra inputs are not permitted"),
        ({"preset": "nope"}, "preset must be one of cifar10-paper, digits, .*, got 'nope'"),
        ({"execution": {"threads": 0}}, "execution.threads: Input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_with_a_run_is_the_message_of_its_failure(parameters, words, machine):
    state = deployed(ddsa_fssl, **parameters)
    assert state.is_failed()
    assert re.search(words, state.message)


def test_a_run_is_named_after_what_was_asked_for(machine):
    state = deployed(ddsa_fssl, preset="digits", overrides=OVERRIDES | {"seed": 0})
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(state.state_details.flow_run_id).name
    assert name == name_of("digits", OVERRIDES)
    assert name.startswith("digits a=0.1 l=10% seed=0 num_clients=4 classifier.rounds=2")


def test_a_deployments_batch_carries_out_its_runs_in_the_store_of_its_machine(called, machine):
    """They are flows inside a deployment's run, given how to compute and no place."""
    manifest = deployed(
        ablation,
        study="tiny",
        seeds=[0],
        arms={"as it is": {}, "guided": {"synthesis.guidance_scale": 3.0}},
        overrides=OVERRIDES,
        execution={"threads": 1},
        where="here",
    ).result()
    runs = pd.read_parquet(machine.folder("ablation", manifest.key) / "runs.parquet")
    assert manifest.metrics == {"runs": 2, "failed": 0}
    assert runs[runs["arm"] == "as it is"]["report"].unique().tolist() == [called[1]["report"].manifest.key]
    made = {name: len(list(machine.names(name))) for name in STAGE_NAMES}
    assert [name for name in STAGE_NAMES if made[name] == 2] == ["synthesis", "retrain", "quality", "report"]
