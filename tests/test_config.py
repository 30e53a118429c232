"""The door: what an experiment may be, and what the refusals say."""

import pytest
from pydantic import BaseModel, ValidationError

from fedsyn.config import Dataset, Execution, Experiment, Partition, PseudoLabels


def refusal(**sections: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(sections)
    return str(caught.value)


def test_the_default_experiment_is_valid():
    assert Experiment().dataset.name == "digits"


@pytest.mark.parametrize(
    "section", ["dataset", "partition", "classifier", "denoiser", "synthesis", "retrain", "report"]
)
def test_an_unknown_field_is_refused_by_name(section):
    message = refusal(**{section: {"no_such_field": 1}})
    assert f"{section}.no_such_field" in message
    assert "not permitted" in message


def test_an_unknown_section_is_refused():
    assert "clasifier" in refusal(clasifier={"rounds": 3})


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("partition", "alpha_labeled", 0.0),
        ("partition", "alpha_labeled", -1.0),
        ("partition", "alpha_unlabeled", 0.0),
        ("partition", "alpha_unlabeled", float("nan")),
        ("partition", "labeled_fraction", 0.0),
        ("partition", "labeled_fraction", 1.01),
        ("partition", "labeled_fraction", -0.1),
        ("partition", "num_clients", 0),
        ("partition", "calibration_fraction", 1.0),
        ("partition", "priors", "same"),
        ("classifier", "rounds", 0),
        ("classifier", "client_fraction", 0.0),
        ("classifier", "client_fraction", 1.5),
        ("classifier", "momentum", 1.0),
        ("classifier", "learning_rate", 0.0),
        ("classifier", "gradient_clip", 0.0),
        ("classifier", "ema_decay", 1.0),
        ("classifier", "optimizer", "lion"),
        ("selection", "target_precision", 1.5),
        ("selection", "confidence_level", 1.0),
        ("denoiser", "label_dropout", 1.0),
        ("synthesis", "guidance_scale", 0.5),
        ("synthesis", "budget", 0),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_field(section, field, value):
    assert f"{section}.{field}" in refusal(**{section: {field: value}})


def test_a_fraction_of_one_is_legal():
    assert Partition(labeled_fraction=1.0).labeled_fraction == 1.0


@pytest.mark.parametrize(
    ("sections", "fields"),
    [
        ({"dataset": {"name": "image-folder"}}, ["root", "image_size"]),
        ({"dataset": {"name": "image-folder", "root": "/pictures"}}, ["root", "image_size"]),
        ({"dataset": {"name": "digits", "image_size": 16}}, ["image_size"]),
        ({"partition": {"priors": "shared", "labeled": "iid"}}, ["priors", "labeled", "unlabeled"]),
        (
            {"partition": {"priors": "shared", "alpha_labeled": 0.1, "alpha_unlabeled": 0.2}},
            ["priors", "alpha"],
        ),
        ({"classifier": {"width": 12}}, ["width", "12"]),
        ({"autoencoder": {"channels": [32, 20]}}, ["channels", "20"]),
        ({"denoiser": {"channels": [4]}}, ["channels", "4"]),
        ({"pseudo_labels": {"confidence_grid": [0.5, 0.4]}}, ["confidence_grid"]),
        ({"pseudo_labels": {"confidence_grid": [0.5, 0.5]}}, ["confidence_grid"]),
        (
            {"partition": {"calibration_fraction": 0.0}},
            ["pseudo_labels.calibration", "partition.calibration_fraction"],
        ),
        ({"synthesis": {"steps": 51}, "denoiser": {"timesteps": 50}}, ["synthesis.steps", "50", "51"]),
        (
            {"synthesis": {"guidance_scale": 2.0}, "denoiser": {"label_dropout": 0.0}},
            ["synthesis.guidance_scale", "denoiser.label_dropout"],
        ),
    ],
)
def test_an_impossible_combination_is_refused_with_its_fields(sections, fields):
    message = refusal(**sections)
    assert [field for field in fields if field not in message] == []


@pytest.mark.parametrize(
    "sections",
    [
        {"dataset": {"name": "image-folder", "root": "/pictures", "image_size": 16}},
        {"partition": {"priors": "shared", "alpha_labeled": 0.3, "alpha_unlabeled": 0.3}},
        {"partition": {"calibration_fraction": 0.0}, "pseudo_labels": {"calibration": "train"}},
        {"synthesis": {"guidance_scale": 1.0}, "denoiser": {"label_dropout": 0.0}},
    ],
)
def test_the_way_out_of_each_refusal_is_accepted(sections):
    Experiment.model_validate(sections)


def test_the_place_of_the_data_is_not_part_of_the_key():
    at_home, away = Dataset(name="mnist", root="/home/data"), Dataset(name="mnist", root="/mnt/data")
    assert "root" not in at_home.key_fields()
    assert at_home.key_fields() == away.key_fields() == {"name": "mnist", "image_size": None}


def test_every_other_field_is_part_of_the_key():
    experiment = Experiment()
    for name in Experiment.model_fields:
        section = getattr(experiment, name)
        if isinstance(section, BaseModel):
            left_out = set(type(section).model_fields) - set(section.key_fields())
            assert left_out == ({"root"} if name == "dataset" else set())


def test_key_fields_are_plain_json_values():
    grid = PseudoLabels(confidence_grid=(0.0, 0.5)).key_fields()["confidence_grid"]
    assert grid == [0.0, 0.5]
    assert type(grid) is list


@pytest.mark.parametrize("settings", [Experiment(), Partition(), Execution()])
def test_settings_are_frozen(settings):
    field = next(iter(type(settings).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, field, 1)


def test_an_experiment_survives_a_round_trip_through_json():
    experiment = Experiment.model_validate({"seed": 3, "pseudo_labels": {"confidence_grid": [0.0, 0.9]}})
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3"])
def test_devices_have_names(device):
    assert Execution(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cpu:0", "mps"])
def test_other_devices_are_refused(device):
    with pytest.raises(ValidationError, match="device"):
        Execution(device=device)
