"""The study that a form describes: one of the package as it is or changed, or a new one."""

from pathlib import Path

import pytest

from fedsyn.ablation import load_study, study_names
from fedsyn.presets import ConfigError
from flows.ablation import compose

NOTHING = {"seeds": [], "grid": {}, "arms": {}, "preset": ""}
"""A form in which nothing is filled in."""


@pytest.mark.parametrize("name", study_names())
def test_a_form_that_is_left_empty_is_the_study_of_the_package(name):
    assert compose(name, NOTHING, {}) == load_study(name)


def test_what_a_form_gives_takes_the_place_of_the_studys():
    study = compose("digits-guidance", NOTHING | {"seeds": [7, 8]}, {})
    assert study.seeds == [7, 8]
    assert study.model_copy(update={"seeds": [0, 1, 2]}) == load_study("digits-guidance")
    study = compose("digits-guidance", NOTHING | {"grid": {"synthesis.steps": [5, 6]}}, {})
    assert [arm for arm, _ in study.changes()] == ["steps=5", "steps=6"]


def test_overrides_are_added_to_the_studys_own(monkeypatch):
    text = "name: small\noverrides: {classifier: {rounds: 3}, synthesis.steps: 4}"
    monkeypatch.setattr("flows.ablation.study_names", lambda: ["small"])
    monkeypatch.setattr("flows.ablation.study_text", lambda name: text)
    study = compose("small", NOTHING, {"synthesis": {"steps": 9}, "retrain.warm_start": True})
    assert study.overrides == {"classifier.rounds": 3, "synthesis.steps": 9, "retrain.warm_start": True}


def test_a_new_name_with_arms_is_a_new_study():
    given = {"seeds": [4], "grid": {}, "arms": {"a": {}, "b": {"synthesis.steps": 9}}, "preset": "fashion-mnist"}
    study = compose("mine", given, {"classifier": {"rounds": 3}})
    assert (study.name, study.preset) == ("mine", "fashion-mnist")
    assert [(run.arm, run.seed) for run in study.runs()] == [("a", 4), ("b", 4)]
    assert {run.experiment.classifier.rounds for run in study.runs()} == {3}


def test_a_new_name_alone_is_refused_with_the_names_that_there_are():
    with pytest.raises(ConfigError, match=f"study must be one of {', '.join(study_names())}, got 'mine'"):
        compose("mine", NOTHING | {"seeds": [1]}, {"classifier": {"rounds": 3}})


@pytest.mark.parametrize("changes", [{}, {"grid": {"synthesis.steps": [5]}}], ids=["alone", "with a grid"])
@pytest.mark.parametrize("path", ["/etc/passwd", "study.yaml", "../digits-guidance", "~/study.yaml"])
def test_a_path_is_no_study_and_what_lies_there_is_not_read(path, changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("study.yaml").write_text("name: found")
    with pytest.raises(ConfigError) as error:
        compose(path, NOTHING | changes, {})
    assert repr(path) in str(error.value)
    assert "found" not in str(error.value)
    assert "root:" not in str(error.value)
