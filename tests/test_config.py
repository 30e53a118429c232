"""The door: what an experiment may be, and what the refusals say."""

import pytest
from pydantic import BaseModel, ValidationError

from fedsyn.config import (
    Classifier,
    Dataset,
    Execution,
    Experiment,
    FederatedTraining,
    Partition,
    Privacy,
    PseudoLabels,
)

PRIVACY = {"clip_norm": 1.0, "noise_multiplier": 1.0}
ALGORITHMS = {
    "fedavg": {"learning_rate": 1.0},
    "fedavgm": {"learning_rate": 1.0, "momentum": 0.9},
    "fedadam": {"learning_rate": 0.01, "momentum": 0.9, "second_moment_decay": 0.99, "adaptivity": 1e-3},
    "fedyogi": {"learning_rate": 0.01, "momentum": 0.9, "second_moment_decay": 0.99, "adaptivity": 1e-3},
    "fedprox": {"learning_rate": 1.0, "proximal_weight": 0.01},
    "scaffold": {"learning_rate": 1.0},
    "fednova": {"learning_rate": 1.0},
    "median": {"learning_rate": 1.0},
    "trimmed_mean": {"learning_rate": 1.0, "trimmed_share": 0.1},
}
PLAIN_SGD = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}


def training(algorithm: str, **changes: object) -> FederatedTraining:
    return FederatedTraining.model_validate(PLAIN_SGD | {"server": {"algorithm": algorithm}} | changes)


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
        ("classifier", "client_sampling", "round_robin"),
        ("classifier", "dropout_rate", 1.0),
        ("classifier", "dropout_rate", -0.1),
        ("classifier", "straggler_rate", 1.0),
        ("classifier", "nonfinite_updates", "ignore"),
        ("classifier", "precision", "fp64"),
        ("classifier", "normalization", "layer"),
        ("classifier", "batch_statistics", "global"),
        ("classifier", "server", {"algorithm": "krum"}),
        ("classifier", "server", {"learning_rate": 1.0}),
        ("classifier", "server", "fedprox"),
        ("classifier", "privacy", {"clip_norm": 1.0}),
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


@pytest.mark.parametrize(("algorithm", "fields"), ALGORITHMS.items())
def test_an_algorithm_is_named_and_has_just_its_own_fields(algorithm, fields):
    server = training(algorithm).server
    assert server.model_dump() == {"algorithm": algorithm} | fields


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_refuses_the_fields_of_the_others(algorithm):
    others = {name: value for fields in ALGORITHMS.values() for name, value in fields.items()}
    for name in others.keys() - ALGORITHMS[algorithm].keys():
        with pytest.raises(ValidationError, match=f"{algorithm}.{name}"):
            training(algorithm, server={"algorithm": algorithm, name: others[name]})


@pytest.mark.parametrize(
    ("algorithm", "field", "value"),
    [
        *((algorithm, "learning_rate", 0.0) for algorithm in ALGORITHMS),
        ("fedavgm", "momentum", 1.0),
        ("fedadam", "second_moment_decay", 1.0),
        ("fedyogi", "adaptivity", 0.0),
        ("fedprox", "proximal_weight", -0.1),
        ("trimmed_mean", "trimmed_share", 0.5),
    ],
)
def test_an_algorithms_value_out_of_range_is_refused_with_its_field(algorithm, field, value):
    with pytest.raises(ValidationError, match=f"server.{algorithm}.{field}"):
        training(algorithm, server={"algorithm": algorithm, field: value})


@pytest.mark.parametrize(("field", "value"), [("clip_norm", 0.0), ("noise_multiplier", -1.0), ("delta", 0.0)])
def test_privacy_has_limits(field, value):
    with pytest.raises(ValidationError, match=field):
        Privacy.model_validate(PRIVACY | {field: value})


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
        ({"autoencoder": {"kind": "pretrained"}}, ["kind 'pretrained'", "got none", "kind 'kl'"]),
        ({"autoencoder": {"pretrained": "/vae"}}, ["pretrained", "'/vae'", "kind 'kl'", "set kind 'pretrained'"]),
        (
            {"autoencoder": {"kind": "pixel"}, "latents": {"augmentation": "posterior"}},
            ["latents.augmentation 'posterior'", "autoencoder.kind 'pixel'", "'flip'"],
        ),
        (
            {"autoencoder": {"kind": "linear"}, "denoiser": {"architecture": "unet"}},
            ["autoencoder.kind 'linear'", "denoiser.architecture 'unet'", "'mlp'"],
        ),
        (
            {"denoiser": {"architecture": "mlp", "channels": [64, 128]}},
            ["channels", "one number", "got [64, 128]", "architecture 'unet'"],
        ),
        (
            {"denoiser": {"prediction": "flow", "min_snr_gamma": 5}},
            ["min_snr_gamma", "got 5", "prediction 'v_prediction'"],
        ),
        (
            {"denoiser": {"prediction": "flow", "noise_schedule": "linear"}},
            ["noise_schedule", "got 'linear'", "prediction 'v_prediction'"],
        ),
        (
            {"denoiser": {"prediction": "flow"}, "synthesis": {"sampler": "ddim"}},
            ["synthesis.sampler 'ddim'", "denoiser.prediction 'flow'", "'unipc'"],
        ),
        (
            {"synthesis": {"sampler": "euler"}},
            ["synthesis.sampler 'euler'", "denoiser.prediction 'v_prediction'", "'unipc'"],
        ),
        ({"synthesis": {"guidance_interval": [0.6, 0.4]}}, ["guidance_interval", "[0.6, 0.4]", "guidance_scale 1"]),
        ({"synthesis": {"guidance_interval": [0.5, 0.5]}}, ["guidance_interval", "[0.5, 0.5]", "guidance_scale 1"]),
        ({"pseudo_labels": {"confidence_grid": [0.5, 0.4]}}, ["confidence_grid"]),
        ({"pseudo_labels": {"confidence_grid": [0.5, 0.5]}}, ["confidence_grid"]),
        (
            {"pseudo_labels": {"calibration": "cross_fit"}},
            ["pseudo_labels.calibration", "partition.calibration_fraction 0, got 0.2", "'held_out'"],
        ),
        (
            {"partition": {"calibration_fraction": 0.0}},
            ["pseudo_labels.calibration", "partition.calibration_fraction"],
        ),
        (
            {
                "partition": {"calibration_fraction": 0.0},
                "pseudo_labels": {"calibration": "cross_fit"},
                "retrain": {"cycles": 2},
            },
            ["retrain.cycles", "got 2", "pseudo_labels.calibration 'cross_fit'", "choose", "'held_out'"],
        ),
        ({"synthesis": {"steps": 51}, "denoiser": {"timesteps": 50}}, ["synthesis.steps", "50", "51"]),
        (
            {"synthesis": {"guidance_scale": 2.0}, "denoiser": {"label_dropout": 0.0}},
            ["synthesis.guidance_scale", "denoiser.label_dropout"],
        ),
        ({"classifier": {"server": {"algorithm": "scaffold"}}}, ["server.algorithm 'scaffold'", "momentum 0"]),
        (
            {"classifier": PLAIN_SGD | {"server": {"algorithm": "scaffold"}, "optimizer": "adamw"}},
            ["server.algorithm 'scaffold'", "optimizer 'sgd'"],
        ),
        (
            {"classifier": PLAIN_SGD | {"server": {"algorithm": "scaffold"}, "weight_decay": 0.1}},
            ["server.algorithm 'scaffold'", "weight_decay 0"],
        ),
        (
            {"classifier": PLAIN_SGD | {"server": {"algorithm": "scaffold"}, "gradient_clip": 1.0}},
            ["server.algorithm 'scaffold'", "no gradient_clip"],
        ),
        (
            {"classifier": {"server": {"algorithm": "fednova"}, "precision": "fp16"}},
            ["server.algorithm 'fednova'", "precision 'fp16'", "'bf16'"],
        ),
        (
            {"classifier": {"normalization": "batch", "ema_decay": 0.5}},
            ["ema_decay", "batch_statistics 'recompute'"],
        ),
        (
            {"denoiser": {"server": {"algorithm": "fednova"}, "optimizer": "adamw"}},
            ["server.algorithm 'fednova'", "optimizer 'sgd'", "'adamw'"],
        ),
        *(
            (
                {"classifier": PLAIN_SGD | {"privacy": PRIVACY, "server": {"algorithm": algorithm}}},
                ["privacy", f"'{algorithm}'", "use fedavg"],
            )
            for algorithm in ("scaffold", "fednova", "median", "trimmed_mean")
        ),
        *(
            (
                {"classifier": {"privacy": PRIVACY, "client_fraction": 0.5, "client_sampling": sampling}},
                ["privacy", "client_sampling 'poisson'", "client_fraction 1", f"'{sampling}'"],
            )
            for sampling in ("uniform", "by_size")
        ),
        *(
            (
                {"classifier": {"privacy": PRIVACY, "normalization": "batch", "batch_statistics": statistics}},
                ["privacy", "normalization 'group'", "batch_statistics 'local'"],
            )
            for statistics in ("aggregate", "recompute")
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
        {"partition": {"calibration_fraction": 0.0}, "pseudo_labels": {"calibration": "cross_fit"}},
        {"synthesis": {"guidance_scale": 1.0}, "denoiser": {"label_dropout": 0.0}},
        {"classifier": PLAIN_SGD | {"server": {"algorithm": "scaffold"}}},
        {"classifier": {"server": {"algorithm": "fednova"}, "momentum": 0.9}},
        *(
            {"classifier": {"privacy": PRIVACY, "server": {"algorithm": algorithm}}}
            for algorithm in ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedprox")
        ),
        {"denoiser": {"privacy": PRIVACY, "client_fraction": 0.5, "client_sampling": "poisson"}},
        {"classifier": {"privacy": PRIVACY, "client_fraction": 1.0, "client_sampling": "uniform"}},
        {"classifier": {"privacy": PRIVACY, "normalization": "batch", "batch_statistics": "local"}},
        {"classifier": {"privacy": PRIVACY, "normalization": "group", "batch_statistics": "aggregate"}},
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
            assert left_out == {"dataset": {"root"}, "retrain": {"cycles"}}.get(name, set())


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
    experiment = Experiment.model_validate(
        {
            "seed": 3,
            "classifier": {"server": {"algorithm": "fedyogi"}, "privacy": PRIVACY},
            "pseudo_labels": {"confidence_grid": [0.0, 0.9]},
        }
    )
    again = Experiment.model_validate_json(experiment.model_dump_json())
    assert again == experiment
    assert type(again.classifier.server) is type(experiment.classifier.server)


def test_what_the_server_does_is_part_of_the_key():
    fields = Classifier.model_validate({"server": {"algorithm": "fedprox"}, "privacy": PRIVACY}).key_fields()
    assert fields["server"] == {"algorithm": "fedprox"} | ALGORITHMS["fedprox"]
    assert fields["privacy"] == PRIVACY | {"delta": 1e-5}
