"""Named experiments, overrides on top of them, and refusals that name field, value and way out."""

import pytest
import yaml
from pydantic import ValidationError

from fedsyn.config import Execution
from fedsyn.presets import ConfigError, dotted, explain, load_experiment, parse_assignments

ALGORITHMS = "fedavg, fedavgm, fedadam, fedyogi, fedprox, scaffold, fednova, median, trimmed_mean"


def refusal(**overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment("digits", {path.replace("__", "."): value for path, value in overrides.items()})
    return str(caught.value)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"algorithm": "x"}, f"classifier.server.algorithm must be one of {ALGORITHMS}, got 'x'"),
        ({"algorithm": None}, f"classifier.server.algorithm must be one of {ALGORITHMS}, got None"),
        ({"algorithm": ["fedavg"]}, f"classifier.server.algorithm must be one of {ALGORITHMS}, got ['fedavg']"),
        ({"momentum": 0.5}, f"classifier.server needs algorithm (one of {ALGORITHMS}), got {{'momentum': 0.5}}"),
        ("fedprox", "classifier.server must be a group of fields, got 'fedprox'; `fedsyn config` shows all fields"),
        (None, "classifier.server must be a group of fields, got None; `fedsyn config` shows all fields"),
        (
            {"algorithm": "fedavg", "momentum": 0.5},
            "classifier.server.momentum is not a field of fedavg; `fedsyn config` shows all fields",
        ),
        (
            {"algorithm": "trimmed_mean", "trimmed_share": 0.5},
            "classifier.server.trimmed_share must be less than 0.5, got 0.5",
        ),
    ],
)
def test_a_refused_server_is_named_without_pydantics_vocabulary(server, message):
    assert refusal(classifier__server=server) == message


def test_a_field_of_the_presets_algorithm_does_not_pass_to_another_one():
    overrides = {"denoiser.server": {"algorithm": "fedavgm", "momentum": 0.5}, "denoiser.server.algorithm": "scaffold"}
    with pytest.raises(ConfigError, match=r"^denoiser\.server\.momentum is not a field of scaffold; "):
        load_experiment("digits", overrides)


def test_an_algorithm_is_no_field_of_a_section():
    assert refusal(classifier__fedavg=1) == "classifier.fedavg is not a field; `fedsyn config` shows all fields"


def test_a_field_that_is_missing_is_asked_for():
    assert refusal(classifier__privacy={"clip_norm": 1}) == (
        "classifier.privacy needs noise_multiplier, got {'clip_norm': 1}"
    )


def test_every_problem_has_a_line():
    lines = refusal(classifier__server={"algorithm": "x"}, denoiser__rounds=0, seed=-1).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["seed", "classifier.server.algorithm", "denoiser.rounds"]


def test_refused_settings_of_the_execution_read_the_same():
    with pytest.raises(ValidationError) as caught:
        Execution.model_validate({"engine": "fast", "workers": 0, "cores": 2})
    assert explain(caught.value).splitlines() == [
        "engine must be 'auto', 'sequential', 'processes', 'vectorized' or 'ray', got 'fast'",
        "workers must be greater than or equal to 1, got 0",
        "cores is not a field; `fedsyn config` shows all fields",
    ]


def test_an_algorithm_and_its_fields_are_set_from_the_command_line():
    assignments = ["classifier.server.algorithm=fedavgm", "classifier.server.momentum=0.5"]
    server = load_experiment("digits", parse_assignments(assignments)).classifier.server
    assert server.model_dump() == {"algorithm": "fedavgm", "learning_rate": 1.0, "momentum": 0.5}


def test_privacy_is_set_from_the_command_line_and_left_out_again():
    on = ["classifier.privacy.clip_norm=1", "classifier.privacy.noise_multiplier=0.5"]
    assert load_experiment("digits", parse_assignments(on)).classifier.privacy.clip_norm == 1
    assert load_experiment("digits", parse_assignments(["classifier.privacy="])).classifier.privacy is None


def test_dotted_names_are_flat_and_the_last_of_two_counts():
    assert dotted({"a": {"b": {"c": 1}, "d": None}, "a.d": 2, "e": {}}) == {"a.b.c": 1, "a.d": 2}


def test_a_file_holds_many_overrides_and_what_follows_it_wins(tmp_path):
    shown = load_experiment("fashion-mnist", {"classifier.server": {"algorithm": "fedprox"}, "seed": 7})
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(shown.model_dump(mode="json")))
    assert load_experiment("digits", parse_assignments([f"@{path}"])) == shown

    path.write_text("synthesis: {steps: 7, per_class: null}\nclassifier.rounds: 3\nexecution: {threads: 2}\n")
    assert parse_assignments(["synthesis.steps=5", f"@{path}", "classifier.rounds=4"]) == {
        "synthesis.steps": 7,
        "synthesis.per_class": None,
        "classifier.rounds": 4,
        "execution.threads": 2,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"@\S+mine\.yaml must name a YAML file of fields, as `fedsyn config` writes one: .*No such file"),
        ("a: [", r"@\S+mine\.yaml must name a YAML file of fields, as `fedsyn config` writes one: "),
        ("- a\n- b\n", r"@\S+mine\.yaml must hold fields, as `fedsyn config` writes them, got \['a', 'b'\]"),
    ],
)
def test_a_file_that_holds_no_fields_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        parse_assignments([f"@{path}"])
