"""What differs from a preset: nothing that was left out counts, in a form or in a call."""

import jsonschema
import pytest
from pydantic import ValidationError

from fedsyn.config import OF_THE_MACHINE, Execution, Experiment
from fedsyn.config.overrides import ExecutionOverrides, Overrides
from fedsyn.presets import load_experiment, preset_names


def given(**values: object) -> dict:
    return Overrides.model_validate(values).given()


def blank(model: type) -> dict:
    """What a form sends for `model` when nothing was filled in."""
    values = {}
    for name, field in model.model_fields.items():
        group = field.annotation
        values[name] = blank(group) if isinstance(group, type) and hasattr(group, "model_fields") else None
    return values


def test_what_is_left_out_is_not_given():
    assert given() == {}
    assert given(seed=3, synthesis={"steps": 5}) == {"seed": 3, "synthesis": {"steps": 5}}


def test_a_form_in_which_one_field_is_filled_changes_that_field_of_a_preset_and_no_other():
    form = blank(Overrides)
    assert form.keys() == Experiment.model_fields.keys()
    form["synthesis"]["steps"] = 7
    for name in preset_names():
        expected = load_experiment(name, {"synthesis.steps": 7})
        assert load_experiment(name, Overrides.model_validate(form).given()) == expected


def test_a_dotted_name_is_a_field_of_a_group_and_null_is_its_value():
    assert given(**{"synthesis.steps": 5, "synthesis": {"budget": 9}}) == {"synthesis": {"steps": 5, "budget": 9}}
    assert given(**{"classifier.local_steps": None}) == {"classifier": {"local_steps": None}}
    assert load_experiment("digits", given(**{"classifier.local_steps": None})).classifier.local_steps is None
    assert load_experiment("digits", given(classifier={"local_steps": None})).classifier.local_steps == 15


def test_a_server_algorithm_is_given_with_its_own_fields():
    values = given(classifier={"server": {"algorithm": "fedprox", "proximal_weight": 0.1}})
    experiment = load_experiment("digits", values)
    assert experiment.classifier.server.proximal_weight == 0.1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"synthesis": {"steps": 0}}, "greater than or equal to 1"),
        ({"synthesis": {"step": 5}}, "Extra inputs are not permitted"),
        ({"synthesis.step": 5}, "Extra inputs are not permitted"),
        ({"classifier": {"optimizer": "adam"}}, "Input should be 'sgd' or 'adamw'"),
        ({"classifier": {"server": {"momentum": 0.5}}}, "algorithm"),
        ({"seed": 3, "seed.more": 1}, r"seed is a value, not a group, in 'seed.more'"),
    ],
)
def test_bad_fields_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        Overrides.model_validate(values)


def test_the_form_has_a_group_for_each_section_with_limits_choices_and_explanations():
    schema = Overrides.model_json_schema()
    assert schema["properties"].keys() == Experiment.model_fields.keys()
    for section, model in Experiment.model_fields.items():
        if section == "seed":
            continue
        fields = schema["$defs"][model.annotation.__name__]["properties"]
        assert fields.keys() == model.annotation.model_fields.keys()
        assert all("default" not in field for field in fields.values())
        assert [name for name, field in fields.items() if not field.get("description")] == []
    steps = schema["$defs"]["Synthesis"]["properties"]["steps"]
    assert (steps["type"], steps["minimum"]) == ("integer", 1)
    sampler = schema["$defs"]["Synthesis"]["properties"]["sampler"]
    left_out, choice = sampler["anyOf"]
    assert left_out == {"type": "null", "title": "as it is"}
    assert choice["enum"] == ["ddim", "dpm-solver++", "unipc", "euler"]
    server = schema["$defs"]["Classifier"]["properties"]["server"]
    assert len(server["anyOf"][1]["oneOf"]) == 9


def accepts(model: type, values: dict) -> bool:
    """Whether the schema of a form, which is all that Prefect's server knows, lets these values through."""
    return jsonschema.Draft202012Validator(model.model_json_schema()).is_valid(values)


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({"synthesis": {"steps": 5}, "classifier.server.algorithm": "fedprox", "synthesis.steps": 6}, True),
        ({"synthesis": {"steps": 0}}, False),
        ({"synthesis": {"step": 5}}, False),
        ({"sinthesis": {"steps": 5}}, False),
        ({"execution": {"store": "/etc"}}, False),
    ],
)
def test_the_schema_takes_dotted_names_and_refuses_groups_that_there_are_not(values, accepted):
    assert accepts(Overrides, values) is accepted


def test_the_form_of_an_execution_offers_no_place_of_the_machine_which_a_call_may_name():
    offered = ExecutionOverrides.model_json_schema()["properties"].keys()
    assert offered == Execution.model_fields.keys() - set(OF_THE_MACHINE)
    assert accepts(ExecutionOverrides, {"device": "cpu", "threads": 2})
    for name in OF_THE_MACHINE:
        assert not accepts(ExecutionOverrides, {name: "2"})
    assert ExecutionOverrides.model_validate({"store": "/data", "cache_gib": 2}).given() == {
        "store": "/data",
        "cache_gib": 2.0,
    }
    with pytest.raises(ValidationError, match=r"cache_gib\n.*greater than 0"):
        ExecutionOverrides.model_validate({"cache_gib": 0})


def test_a_complete_execution_is_given_as_a_whole():
    """So no variable of the machine comes between a command's options and its run."""
    execution = Execution(store="/data", device="cpu")
    values = ExecutionOverrides.model_validate(execution).given()
    assert Execution.on({"FEDSYN_STORE": "/other", "FEDSYN_THREADS": "7"}, values) == execution
