"""A study's arms: which there are, in which order, under which names, and which are refused."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn.ablation import Run, Study, load_study, make_study, study_names, study_text
from fedsyn.ablation.fields import short_name
from fedsyn.config.overrides import Overrides
from fedsyn.presets import ConfigError, load_experiment

GUIDANCE, STEPS = "synthesis.guidance_scale", "synthesis.steps"


def runs(**fields: object) -> list[Run]:
    return Study(name="study", **fields).runs()


def arms(**fields: object) -> list[str]:
    return list(dict.fromkeys(run.arm for run in runs(**fields)))


def refusal(**fields: object) -> list[str]:
    """The lines of the one error that says what is wrong with a study."""
    with pytest.raises(ConfigError) as raised:
        make_study({"name": "study", **fields}).runs()
    return str(raised.value).splitlines()


def test_a_grid_of_two_by_two_is_four_arms_the_last_field_fastest():
    found = runs(grid={GUIDANCE: [1.0, 2.0], STEPS: [5, 10]}, seeds=[7])
    assert [run.arm for run in found] == [
        "guidance_scale=1.0, steps=5",
        "guidance_scale=1.0, steps=10",
        "guidance_scale=2.0, steps=5",
        "guidance_scale=2.0, steps=10",
    ]
    assert found[2].overrides == {GUIDANCE: 2.0, STEPS: 5, "seed": 7}
    assert found[2].experiment == load_experiment("digits", found[2].overrides)


def test_an_arms_seeds_stand_together():
    assert [(run.arm, run.seed) for run in runs(arms={"a": {STEPS: 1}, "b": {STEPS: 2}}, seeds=[4, 3])] == [
        ("a", 4), ("a", 3), ("b", 4), ("b", 3),
    ]  # fmt: skip


def test_named_arms_are_crossed_with_the_grid():
    named = {"plain": None, "oracle": {"selection": {"strategy": "oracle"}}}
    assert arms(arms=named) == ["plain", "oracle"]
    assert arms(arms=named, grid={STEPS: [5, 6]}) == [
        "plain, steps=5", "plain, steps=6", "oracle, steps=5", "oracle, steps=6",
    ]  # fmt: skip


def test_without_arms_and_grid_there_is_the_preset_itself():
    found = runs()
    assert [(run.arm, run.seed) for run in found] == [("baseline", 0), ("baseline", 1), ("baseline", 2)]
    assert found[1].experiment == load_experiment("digits", {"seed": 1})


def test_overrides_are_common_and_an_arm_wins_over_them():
    common, named = {"synthesis": {"steps": 5}, "retrain.warm_start": True}, {"a": {}, "b": {STEPS: 6}}
    found = runs(overrides=common, arms=named, seeds=[0])
    assert [run.experiment.synthesis.steps for run in found] == [5, 6]
    assert all(run.experiment.retrain.warm_start for run in found)


def test_a_name_is_as_short_as_it_can_be_without_meaning_another_field():
    assert short_name(GUIDANCE) == "guidance_scale"
    assert short_name("classifier.rounds") == "classifier.rounds"
    assert short_name("classifier.server.momentum") == "classifier.server.momentum"
    assert arms(grid={"synthesis.budget": [None, 9], "autoencoder.channels": [[32]]})[0] == (
        "budget=null, autoencoder.channels=[32]"
    )


def test_a_group_can_be_varied_as_a_whole():
    servers = [{"algorithm": "fedavg"}, {"algorithm": "fedprox", "proximal_weight": 0.1}]
    found = runs(grid={"classifier.server": servers}, seeds=[0])
    assert found[1].arm == "classifier.server={algorithm: fedprox, proximal_weight: 0.1}"
    assert found[1].experiment.classifier.server.proximal_weight == 0.1


def test_a_runs_overrides_mean_the_same_to_the_flow():
    for run in runs(overrides={"classifier": {"local_steps": None}}, grid={"synthesis.budget": [None, 9]}):
        assert load_experiment("digits", Overrides.model_validate(run.overrides).given()) == run.experiment


@given(st.data())
@settings(max_examples=25)
def test_there_are_as_many_runs_as_arms_times_points_times_seeds_and_no_two_are_named_alike(data):
    axes = {GUIDANCE: [1.0, 1.5, 2.0], STEPS: [5, 6], "partition.alpha_labeled": [0.1, 0.5, 1.0]}
    grid = {
        field: data.draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
        for field, values in axes.items()
        if data.draw(st.booleans())
    }
    named = {f"arm {width}": {"classifier.width": width} for width in (8, 16, 24)[: data.draw(st.integers(0, 3))]}
    seeds = data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True))
    found = runs(grid=grid, arms=named, seeds=seeds)
    assert len(found) == max(1, len(named)) * prod(len(values) for values in grid.values()) * len(seeds)
    assert len({(run.arm, run.seed) for run in found}) == len({run.experiment.model_dump_json() for run in found})
    assert len({(run.arm, run.seed) for run in found}) == len(found)


def test_every_bad_arm_is_named_in_one_error():
    named = {"a": {"synthesis.stepz": 1}, "b": {STEPS: 0}, "good": {}, "c": {"seed": 3}, "d": {"dataset": 3}}
    lines = refusal(arms=named)
    assert lines[0] == "study study:"
    assert [line.split(":")[0] for line in lines[1:]] == ["a", "b", "c", "d"]
    assert lines[1] == "a: synthesis.stepz is not a field; `fedsyn config` shows all fields"
    assert lines[2] == "b: synthesis.steps must be greater than or equal to 1, got 0"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grid": {"synthesis.stepz": [1]}}, "grid: synthesis.stepz is not a field; `fedsyn config` shows"),
        ({"grid": {"seed": [1, 2]}}, "list them in seeds"),
        ({"grid": {"execution.threads": [1, 2]}}, "--set execution.field=value"),
        ({"overrides": {"execution": {"threads": 1}}}, "overrides: execution.threads says how a run"),
        ({"overrides": {STEPS: 3}, "grid": {STEPS: [1, 2]}}, "overrides: synthesis.steps has no effect"),
        ({"arms": {"a": {STEPS: 3}}, "grid": {STEPS: [1, 2]}}, "a: synthesis.steps has no effect"),
        ({"arms": {"a": {}, "b": {GUIDANCE: 1}}}, "b: the same experiment as the arm 'a'; remove one"),
        ({"grid": {STEPS: [5, "5"]}}, "the same experiment"),
        ({"grid": {STEPS: list(range(1, 400))}}, "at most 1,000 runs, got 1,197 (399 arms x 3 seeds); split it"),
        ({"preset": "nope"}, "preset must be one of"),
        ({"grid": {STEPS: []}}, "grid.synthesis.steps"),
        ({"grid": {STEPS: 3}}, "grid.synthesis.steps"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "every seed must differ from the others, got [1, 1]"),
        ({"seeds": [-1]}, "seeds.0 must be greater than or equal to 0, got -1"),
        ({"name": "Two Words"}, "name"),
        ({"arms": {" ": {}}}, "arms"),
        ({"colour": 1}, "colour is not a field of a study; those are name, preset"),
    ],
)
def test_what_is_wrong_is_refused_with_the_way_out(fields, words):
    assert words in "\n".join(refusal(**fields))


def test_what_a_form_leaves_empty_is_the_default():
    fields = dict.fromkeys(Study.model_fields) | {"name": "study"}
    assert Study.model_validate(fields) == Study(name="study")
    assert [name for name, field in Study.model_json_schema()["properties"].items() if not field["description"]] == []


@pytest.mark.parametrize("name", study_names())
def test_every_study_of_the_package_can_be_run_and_says_what_it_asks(name):
    study = load_study(name)
    assert study.name == name
    assert len(study.runs()) == len(study.changes()) * len(study.seeds)
    assert study_text(name).splitlines()[0].endswith("?")


def test_a_study_is_read_from_a_file_too(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\ngrid: {synthesis.steps: [5, 6]}\nseeds: [3]\n")
    assert [run.arm for run in load_study(str(tmp_path / "mine.yaml")).runs()] == ["steps=5", "steps=6"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "cannot be read as YAML"),
        ("3", "must be a group of fields"),
        ("", "got None"),
        ("preset: digits", "needs a name"),
    ],
)
def test_a_file_that_is_no_study_is_refused(text, words, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_study(str(tmp_path / "bad.yaml"))


def test_a_name_that_is_neither_a_study_nor_a_file_is_refused():
    with pytest.raises(ConfigError, match=r"one of digits-guidance, .*path of a YAML file.*'nope'"):
        load_study("nope")
