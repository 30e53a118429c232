"""How runs are named."""

import pytest

from fedsyn.config import Partition
from flows.ddsa_fssl import name_of, skew


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
