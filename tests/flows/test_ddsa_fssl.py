"""How runs are named, and which tasks they call with what."""

from types import SimpleNamespace
from typing import Any

import pytest

from fedsyn.config import Execution, Experiment, Partition
from fedsyn.graph import STAGES, nodes
from flows import ddsa_fssl as module
from flows.ddsa_fssl import chain, name_of, skew


@pytest.mark.parametrize(
    ("preset", "overrides", "name"),
    [
        ("digits", {}, "digits a=0.1 l=4% seed=0"),
        ("cifar10-paper", {"seed": 3}, "cifar10 a=0.1 l=10% seed=3"),
        ("digits", {"synthesis": {"guidance_scale": 2.0}}, "digits a=0.1 l=4% seed=0 guidance_scale=2.0"),
        ("digits", {"synthesis.guidance_scale": 2.0}, "digits a=0.1 l=4% seed=0 guidance_scale=2.0"),
        ("digits", {"partition.alpha_labeled": 1.0, "classifier.rounds": 5},
         "digits a=1/0.1 l=4% seed=0 classifier.rounds=5"),
        ("digits", {"partition": {"labeled_fraction": 0.125, "labeled": "iid"}}, "digits a=iid/0.1 l=12.5% seed=0"),
        ("digits", {"classifier": {"server": {"algorithm": "fedprox"}, "rounds": 5}},
         "digits a=0.1 l=4% seed=0 classifier.server.algorithm=fedprox classifier.rounds=5"),
    ],
)  # fmt: skip
def test_a_name_says_data_skew_labels_and_seed_and_then_what_else_was_changed(preset, overrides, name):
    assert name_of(preset, overrides) == name


def test_a_name_that_is_long_is_cut():
    name = name_of("digits", {f"{stage}.rounds": 5 for stage in ("classifier", "autoencoder", "denoiser")})
    assert name == "digits a=0.1 l=4% seed=0 classifier.rounds=5 autoencoder.rounds=5 denoiser.roun…"
    assert len(name) == 80


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"alpha_labeled": 0.1, "alpha_unlabeled": 0.1}, "a=0.1"),
        ({"alpha_labeled": 0.1, "alpha_unlabeled": 10}, "a=0.1/10"),
        ({"alpha_labeled": 0.5, "unlabeled": "iid"}, "a=0.5/iid"),
        ({"labeled": "iid", "unlabeled": "iid"}, "a=iid"),
    ],
)
def test_equal_skews_are_said_once(fields, words):
    assert skew(Partition.model_validate(fields)) == words


class Noted:
    """Stands in for a stage's task: notes what it is called as, and with whose states."""

    def __init__(self, calls: list[tuple[str, dict[str, str]]], name: str, shown: str | None = None) -> None:
        self.calls, self.name, self.shown = calls, name, shown or name

    def with_options(self, *, task_run_name: str) -> "Noted":
        return Noted(self.calls, self.name, task_run_name)

    def __call__(self, experiment: Any, execution: Any, return_state: bool, **inputs: Any) -> Any:
        self.calls.append((self.shown, {name: state.result() for name, state in inputs.items()}))
        return SimpleNamespace(name="Completed", result=lambda: self.shown)


def shown(node: str) -> str:
    stage, _, cycle = node.partition("-")
    return f"{stage} (cycle {cycle})" if cycle else stage


@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_the_flow_calls_what_the_graph_declares(cycles, monkeypatch):
    calls: list[tuple[str, dict[str, str]]] = []
    for stage in STAGES:
        monkeypatch.setattr(module, stage.name, Noted(calls, stage.name))
    experiment = Experiment.model_validate({"retrain": {"cycles": cycles}})
    results = chain(experiment, Execution())
    declared = nodes(experiment)
    assert calls == [
        (shown(node.name), {name: shown(source) for name, source in node.inputs.items()}) for node in declared
    ]
    assert list(results) == [node.name for node in declared]
    assert [result.manifest for result in results.values()] == [name for name, _ in calls]
