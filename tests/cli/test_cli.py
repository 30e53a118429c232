"""The command refuses bad input before any work, and shows its settings."""

import pytest
import yaml
from typer.testing import CliRunner

from fedsyn import __version__
from fedsyn.cli import app
from fedsyn.presets import load_experiment, preset_names

runner = CliRunner()


def text(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments), env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "nope"], ["preset must be one of", "digits", "'nope'"]),
        (["--set", "partition.alpha_labeled=0"], ["partition.alpha_labeled must be", "got 0"]),
        (["--set", "partition.labeled_fraction=1.5"], ["partition.labeled_fraction must be", "got 1.5"]),
        (["--set", "partition.labeled_fraction=0"], ["partition.labeled_fraction must be", "got 0"]),
        (["--set", "partition.clients=3"], ["partition.clients is not a field", "fedsyn config"]),
        (["--set", "classifier.server.algorithm=fedavgn"], ["classifier.server.algorithm must be", "got 'fedavgn'"]),
        (["--set", "classifier.server.momentum=0.5"], ["classifier.server needs algorithm", "got {'momentum': 0.5}"]),
        (["--set", "classifier.dropout_rate=1"], ["classifier.dropout_rate must be less than 1, got 1"]),
        (["--set", "seed"], ["section.field=value", "'seed'"]),
        (["--set", "partition.calibration_fraction=0"], ["pseudo_labels.calibration", "calibration_fraction > 0"]),
        (
            ["--set", "dataset.name=svhn", "--set", "dataset.root=/nowhere"],
            ["torchvision.datasets.SVHN", "dataset.root"],
        ),
        (["--preset", "fashion-mnist", "--set", "dataset.root=/nowhere"], ["dataset-fashion-mnist", "download=True"]),
        (["--set", "seed=[1"], ["seed must have a value in YAML", "'[1'"]),
        (["--set", "pseudo_labels.confidence_grid=[0.9,0.95]"], ["confidence_grid must begin with 0"]),
        (["--device", "tpu"], ["device", "'tpu'"]),
        (["--device", "cuda:99"], ["execution.device", "'cuda:99'", "'cpu'"]),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_way_out(arguments, words, tmp_path):
    result = runner.invoke(app, ["run", "--store", str(tmp_path / "store"), *arguments])
    assert result.exit_code == 2
    assert [word for word in words if word not in result.stderr] == []
    assert not (tmp_path / "store").exists()


def test_config_shows_every_field_and_what_an_override_changed():
    shown = yaml.safe_load(text("config", "--preset", "digits", "--set", "synthesis.steps=7"))
    expected = load_experiment("digits", {"synthesis": {"steps": 7}}).model_dump(mode="json")
    assert shown == expected


def test_presets_are_listed_with_what_they_are():
    listing = text("presets")
    assert all(name in listing for name in preset_names())
    assert "1,797 images" in listing


def test_version():
    assert text("--version").strip() == f"fedsyn {__version__}"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_experiment(name):
    assert load_experiment(name).dataset.name.startswith(name.split("-")[0])
