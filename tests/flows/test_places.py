"""A run that others ask for may name no place of the machine; one that is started on the machine may."""

import os
from pathlib import Path

import pytest

from fedsyn.config import OF_THE_MACHINE, Execution, Experiment
from flows.places import refuse_other_places

VALUES = {"store": "/elsewhere", "cache": "/elsewhere", "cache_gib": 2.0, "ray_address": "auto"}


def experiment(root: Path | str | None) -> Experiment:
    return Experiment.model_validate({"dataset": {"name": "mnist", "root": None if root is None else str(root)}})


OWN_FILES = {
    "autoencoder.pretrained": lambda path: {"autoencoder": {"kind": "pretrained", "pretrained": path}},
    "quality.inception": lambda path: {"quality": {"inception": path}},
}


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A data folder of the machine, beside another folder."""
    for name in ("data/MNIST", "other", "secret"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("FEDSYN_DATA", f"{tmp_path / 'data'}{os.pathsep}{tmp_path / 'other'}")
    return tmp_path / "data"


@pytest.mark.parametrize("name", OF_THE_MACHINE)
def test_every_place_of_the_machine_is_refused_with_the_variable_that_sets_it(name):
    with pytest.raises(
        ValueError, match=rf"execution\.{name} cannot be named.*got {VALUES[name]!r}: set FEDSYN_"
    ) as error:
        refuse_other_places(experiment(None), {"threads": 2, name: VALUES[name]})
    assert f"set FEDSYN_{name.upper()} where the worker is started" in str(error.value)


def test_how_to_compute_is_free():
    refuse_other_places(experiment(None), {"device": "cpu", "threads": 2, "engine": "ray", "gpus_per_worker": 0.5})
    assert VALUES.keys() == set(OF_THE_MACHINE) <= Execution.model_fields.keys()


@pytest.mark.parametrize("root", ["data", "data/MNIST", "other", "other/../data/MNIST", "/usr/share/datasets/mnist"])
def test_data_in_a_folder_of_the_machine_are_accepted(data, root):
    refuse_other_places(experiment(data.parent / root), {})


@pytest.mark.parametrize("root", [".", "secret", "data/../secret", "data/..", "data-of-others", "/etc", "~", "/"])
def test_data_elsewhere_are_refused_with_the_folders_that_there_are(data, root):
    with pytest.raises(ValueError, match=r"dataset\.root must lie in a data folder.*FEDSYN_DATA") as error:
        refuse_other_places(experiment(root if root == "~" else data.parent / root), {})
    assert f"({data}, {data.parent / 'other'}, /usr/share/datasets)" in str(error.value)


@pytest.mark.parametrize("field", OWN_FILES)
def test_a_user_s_own_weights_must_lie_there_too(data, field):
    refuse_other_places(Experiment.model_validate(OWN_FILES[field](str(data / "own.safetensors"))), {})
    secret = data.parent / "secret" / "own.safetensors"
    for place in (secret, data / ".." / "secret" / "own.safetensors", "/etc/own.safetensors"):
        with pytest.raises(ValueError, match=rf"{field} must lie in a data folder.*got '{place}'; set FEDSYN_DATA"):
            refuse_other_places(Experiment.model_validate(OWN_FILES[field](str(place))), {})


def test_a_link_counts_as_what_it_leads_to(data):
    (data / "inside").symlink_to(data / "MNIST")
    (data / "outside").symlink_to(data.parent / "secret")
    refuse_other_places(experiment(data / "inside"), {})
    for name in ("outside", "outside/deeper", "inside/../../secret"):
        with pytest.raises(ValueError, match="must lie in a data folder"):
            refuse_other_places(experiment(data / name), {})
