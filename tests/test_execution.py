"""How an experiment is carried out: what may be asked for, and who has the say."""

import pytest
from pydantic import ValidationError

from fedsyn.config import Execution


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3"])
def test_devices_have_names(device):
    assert Execution(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cpu:0", "mps"])
def test_other_devices_are_refused(device):
    with pytest.raises(ValidationError, match="device"):
        Execution(device=device)


@pytest.mark.parametrize("engine", ["auto", "sequential", "processes", "vectorized", "ray"])
def test_engines_have_names(engine):
    assert Execution(engine=engine).engine == engine


@pytest.mark.parametrize(
    ("field", "value"),
    [("engine", "threads"), ("workers", 0), ("clients_per_group", 0), ("gpus_per_worker", -0.5), ("cores", 2)],
)
def test_an_execution_that_makes_no_sense_is_refused_with_its_field(field, value):
    with pytest.raises(ValidationError, match=field):
        Execution(**{field: value})


def test_what_was_given_wins_over_the_machine_and_the_machine_over_the_defaults():
    machine = {"FEDSYN_THREADS": "2", "FEDSYN_DEVICE": "cpu", "FEDSYN_COMPILE": "", "FEDSYN_HOME": "/x"}
    found = Execution.on(machine, {"threads": 5})
    assert found == Execution(threads=5, device="cpu")
    assert Execution.on(machine, {"threads": None}).threads is None
    assert Execution.on({}) == Execution()


def test_every_field_of_an_execution_has_its_variable():
    values = {
        "store": "s3://bucket/x", "cache": "/x", "cache_gib": 2.5, "device": "cuda:1", "threads": 3, "engine": "ray",
        "workers": 4, "checkpoint_seconds": 5.0, "checkpoint_rounds": 6, "clients_per_group": 7, "compile": True,
        "ray_address": "auto", "gpus_per_worker": 0.5,
    }  # fmt: skip
    assert values.keys() == Execution.model_fields.keys()
    assert Execution.on({f"FEDSYN_{name.upper()}": str(value) for name, value in values.items()}) == Execution(**values)


@pytest.mark.parametrize(
    ("field", "value"), [("threads", "0"), ("workers", "two"), ("device", "gpu"), ("compile", "maybe")]
)
def test_a_value_of_the_machine_that_cannot_be_used_is_refused_with_its_field(field, value):
    with pytest.raises(ValidationError) as caught:
        Execution.on({f"FEDSYN_{field.upper()}": value})
    assert [(error["loc"], error["input"]) for error in caught.value.errors()] == [((field,), value)]
