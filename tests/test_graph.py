"""The stage graph: its order, its keys, and what its functions are given."""

import inspect

import pytest

from fedsyn import pipeline
from fedsyn.config import Experiment
from fedsyn.graph import REPORT, STAGES, Stage, nodes

NAMES = [stage.name for stage in STAGES]


def keys(experiment: Experiment, fingerprint: str = "data") -> dict[str, str]:
    made: dict[str, str] = {}
    for stage in STAGES:
        made[stage.name] = stage.key(experiment, made, fingerprint if stage.name == "dataset" else None)
    return made


def changed(**sections: object) -> set[str]:
    before, after = keys(Experiment()), keys(Experiment.model_validate(sections))
    return {name for name in NAMES if before[name] != after[name]}


def at_or_after(readers: set[str]) -> set[str]:
    reached: set[str] = set()
    for stage in STAGES:
        if stage.name in readers or reached & set(stage.inputs):
            reached.add(stage.name)
    return reached


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES) == 15


def test_every_stage_stands_after_its_inputs():
    for position, stage in enumerate(STAGES):
        assert set(stage.inputs) <= set(NAMES[:position]), stage.name


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_function_takes_exactly_the_sections_that_its_key_covers(stage):
    parameters = inspect.signature(stage.function()).parameters.values()
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["inputs", "output", "context"]
    sections = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert set(sections) == set(stage.sections)
    assert sections == {name: Experiment.model_fields[name].annotation for name in stage.sections}
    assert all(p.default is p.empty for p in parameters)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("seed", 1),
        ("dataset", {"name": "mnist"}),
        ("partition", {"num_clients": 11}),
        ("classifier", {"rounds": 21}),
        ("pseudo_labels", {"calibration": "train"}),
        ("selection", {"target_precision": 0.9}),
        ("autoencoder", {"kl_weight": 0.5}),
        ("latents", {"augmentation": "flip"}),
        ("denoiser", {"timesteps": 500}),
        ("synthesis", {"guidance_scale": 2.5}),
        ("retrain", {"warm_start": True}),
        ("judge", {"rounds": 21}),
        ("quality", {"neighbours": 3}),
        ("report", {"images_per_class": 9}),
    ],
)
def test_a_change_of_a_section_changes_the_keys_of_its_readers_and_of_all_after_them(section, value):
    readers = {stage.name for stage in STAGES if section in stage.sections}
    assert changed(**{section: value}) == at_or_after(readers)


def test_a_change_of_the_guidance_scale_repeats_synthesis_and_what_follows_from_its_images_only():
    assert changed(synthesis={"guidance_scale": 2.5}) == {"synthesis", "retrain", "quality", "report"}


def test_a_change_of_the_selection_leaves_classifier_and_autoencoder_alone():
    assert changed(selection={"strategy": "none"}) == {
        "selection",
        "self_training",
        "denoiser",
        "synthesis",
        "retrain",
        "quality",
        "report",
    }


def test_another_judge_or_measure_trains_nothing_that_it_judges():
    assert changed(judge={"width": 64}) == {"judge", "quality", "report"}
    assert changed(quality={"memorised_ratio": 0.3}) == {"quality", "report"}


def test_a_change_of_the_autoencoder_leaves_the_pseudo_labels_alone():
    after = {"autoencoder", "latents", "denoiser", "synthesis", "retrain", "quality", "report"}
    assert changed(autoencoder={"latent_channels": 3}) == after


def test_fields_that_an_autoencoder_s_kind_does_not_read_are_in_no_key():
    def autoencoder(kind: str, **fields: object) -> str:
        sections = {"autoencoder": {"kind": kind, **fields}, "denoiser": {"architecture": "mlp", "channels": [8]}}
        return keys(Experiment.model_validate(sections))["autoencoder"]

    assert (
        autoencoder("linear")
        == autoencoder("linear", rounds=7, unshuffle=4)
        != autoencoder("linear", latent_channels=7)
    )
    assert (
        autoencoder("pixel") == autoencoder("pixel", rounds=7, latent_channels=7) != autoencoder("pixel", unshuffle=4)
    )
    assert len({autoencoder("kl"), autoencoder("kl", rounds=7), autoencoder("kl", unshuffle=4)}) == 3


@pytest.mark.parametrize(
    "section",
    [
        {"server": {"algorithm": "fedprox"}},
        {"server": {"algorithm": "fedavg", "learning_rate": 0.5}},
        {"privacy": {"clip_norm": 1, "noise_multiplier": 0}},
        {"dropout_rate": 0.1},
        {"normalization": "batch"},
        {"precision": "bf16"},
    ],
    ids=lambda section: next(iter(section)),
)
def test_how_a_federation_trains_is_part_of_the_keys_of_both_classifiers(section):
    after = {"pseudo_labels", "selection", "denoiser", "synthesis", "quality", "report"}
    assert changed(classifier=section) == {"classifier", "retrain", "bounds", "self_training"} | after


def test_the_default_algorithm_by_name_is_the_default():
    assert changed(classifier={"server": {"algorithm": "fedavg"}}, denoiser={"privacy": None}) == set()


def test_moved_data_changes_no_key():
    assert changed(dataset={"name": "digits", "root": "/elsewhere"}) == set()


def test_other_data_change_every_key():
    experiment = Experiment()
    before, after = keys(experiment), keys(experiment, fingerprint="other data")
    assert {name for name in NAMES if before[name] != after[name]} == set(NAMES)


def test_a_new_version_of_a_stage_has_a_new_key():
    old, new = Stage("stage", 1, ("seed",), ()), Stage("stage", 2, ("seed",), ())
    assert old.key(Experiment(), {}) != new.key(Experiment(), {})


def test_equal_settings_of_two_stages_have_two_keys():
    one, other = Stage("one", 1, ("seed",), ()), Stage("other", 1, ("seed",), ())
    assert one.key(Experiment(), {}) != other.key(Experiment(), {})


def test_a_key_is_24_hexadecimal_digits():
    for key in keys(Experiment()).values():
        assert len(key) == 24
        int(key, 16)


def test_the_same_number_written_otherwise_gives_the_same_keys():
    assert changed(synthesis={"guidance_scale": "1.5"}, partition={"num_clients": 10.0}) == set()


def test_a_stage_reads_its_own_sections_only():
    stage = Stage("stage", 1, ("seed", "partition"), ())
    experiment = Experiment(seed=7)
    assert stage.settings(experiment) == {"seed": 7, "partition": experiment.partition}


# --- cycles ---


def with_cycles(number: int, **retrain: object) -> Experiment:
    return Experiment.model_validate({"retrain": {"cycles": number, **retrain}})


def test_a_run_of_one_cycle_has_one_node_a_stage():
    found = nodes(Experiment())
    assert [node.stage for node in found] == list(STAGES)
    for node in found:
        assert node.name == node.stage.name
        assert dict(node.inputs) == {name: name for name in node.stage.inputs}


def test_a_second_cycle_adds_its_nodes_after_those_of_the_first():
    first, both = nodes(Experiment()), nodes(with_cycles(2))
    added = [node for node in both if node.name not in NAMES]
    assert [node for node in both if node not in added and node in first] == [*first[:11], *first[12:13]]
    assert {node.name: dict(node.inputs) for node in added} == {
        "pseudo_labels-2": {"dataset": "dataset", "partition": "partition", "classifier": "retrain"},
        "selection-2": {"partition": "partition", "pseudo_labels": "pseudo_labels-2"},
        "denoiser-2": {"partition": "partition", "selection": "selection-2", "latents": "latents"},
        "synthesis-2": {
            "dataset": "dataset",
            "partition": "partition",
            "classifier": "retrain",
            "selection": "selection-2",
            "autoencoder": "autoencoder",
            "latents": "latents",
            "denoiser": "denoiser-2",
        },
        "retrain-2": {
            "dataset": "dataset",
            "partition": "partition",
            "classifier": "retrain",
            "selection": "selection-2",
            "synthesis": "synthesis-2",
        },
    }
    assert [node.name for node in both][9:16] == ["retrain", *(node.name for node in added), "bounds"]


def test_what_stands_outside_of_the_cycles_reads_the_last_one_and_the_classifier_of_step_1():
    inputs = {node.name: node.inputs for node in nodes(with_cycles(3))}
    assert inputs["pseudo_labels-3"]["classifier"] == "retrain-2"
    assert inputs["report"] == {name: name for name in REPORT.inputs} | {
        name: f"{name}-3" for name in ("pseudo_labels", "selection", "denoiser", "synthesis", "retrain")
    }
    assert (inputs["quality"]["selection"], inputs["quality"]["synthesis"]) == ("selection-3", "synthesis-3")
    assert (inputs["self_training"]["classifier"], inputs["self_training"]["selection"]) == (
        "classifier",
        "selection-3",
    )


def test_every_node_stands_after_its_inputs():
    found = nodes(with_cycles(10))
    for position, node in enumerate(found):
        assert set(node.inputs.values()) <= {other.name for other in found[:position]}, node.name
    assert len({node.name for node in found}) == len(found) == 15 + 9 * 5


def test_a_cycle_has_the_same_keys_however_many_follow():
    """What stands outside of the cycles and reads them has other keys, under which a run of one cycle left its own."""
    one, two, three = (pipeline.keys(with_cycles(number), "data") for number in (1, 2, 3))
    after = {"self_training", "quality", "report"}
    assert one == keys(Experiment())
    assert {name for name in one if one[name] != two[name]} == after
    assert {name for name in two if two[name] != three[name]} == after
    assert len({*three.values()}) == len(three)


def test_a_field_of_a_cycle_is_that_of_every_cycle():
    before, after = (pipeline.keys(with_cycles(2, warm_start=value), "data") for value in (False, True))
    second = {"pseudo_labels-2", "selection-2", "denoiser-2", "synthesis-2", "retrain-2"}
    assert {name for name in before if before[name] != after[name]} == (
        second | {"retrain", "self_training", "quality", "report"}
    )
