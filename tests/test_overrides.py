"""What differs from a preset: nothing that was left out counts, in a form or in a call."""

import pytest
from pydantic import ValidationError

from fedsyn.config import Experiment
from fedsyn.config.overrides import Overrides
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
    assert sampler["enum"] == ["ddim", "dpm-solver++", "unipc", None]
    server = schema["$defs"]["Classifier"]["properties"]["server"]
    assert len(server["anyOf"][0]["oneOf"]) == 9
