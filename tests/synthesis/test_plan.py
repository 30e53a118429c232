"""What each client lacks, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsyn.config import Synthesis
from fedsyn.synthesis.plan import plan_targets, to_generate

HAVE = np.array(
    [
        [6, 2, 0],  # much of the first class
        [0, 3, 1],
        [0, 0, 0],  # no label at all
    ]
)
ALL = np.array([True, True, True])


def plan(have: np.ndarray = HAVE, learnable: np.ndarray = ALL, **settings: object) -> list[list[int]]:
    return plan_targets(have, learnable, Synthesis(**settings)).tolist()


def test_absent_classes_grow_to_the_clients_largest():
    # a client without labels aims at the mean of the others' largest: (6 + 3) / 2 = 4.5, rounded to 4
    assert plan(target="absent") == [[6, 2, 6], [3, 3, 1], [4, 4, 4]]


def test_absent_classes_grow_to_a_fixed_number():
    assert plan(target="absent", per_class=5) == [[6, 2, 5], [5, 3, 1], [5, 5, 5]]


def test_balance_brings_every_class_to_the_clients_largest():
    assert plan(target="balance") == [[6, 6, 6], [3, 3, 3], [4, 4, 4]]


def test_balance_brings_every_class_to_a_fixed_number_and_takes_none_away():
    assert plan(target="balance", per_class=4) == [[6, 4, 4], [4, 4, 4], [4, 4, 4]]


def test_global_gives_every_client_the_mixture_of_all():
    # the mixture is 6 : 5 : 1 of 12. client 0 needs 12 images to hold 6 of the first class: 6, 5, 1.
    # client 1 needs 12 to hold 1 of the last: 6, 5, 1. client 2 takes the mean of the two: 12.
    assert plan(target="global") == [[6, 5, 1], [6, 5, 1], [6, 5, 1]]


def test_global_rounds_up():
    # mixture 3 : 1; client 0 has 2 : 0 and needs 2 / (3/4) = 8/3 images: 2 and 2/3 -> 1
    assert plan(np.array([[2, 0], [1, 1]]), ALL[:2], target="global") == [[2, 1], [3, 1]]


def test_fixed_gives_every_class_as_many_images_whatever_a_client_has():
    assert plan(target="fixed", per_class=3) == [[9, 5, 3], [3, 6, 4], [3, 3, 3]]
    assert plan(target="fixed", per_class=3, learnable=np.array([True, False, True])) == [
        [9, 2, 3],
        [3, 3, 4],
        [3, 0, 3],
    ]


@pytest.mark.parametrize("target", ["absent", "balance", "global"])
def test_what_the_denoiser_never_saw_is_not_asked_of_it(target):
    learnable = np.array([True, False, True])
    targets = plan(learnable=learnable, target=target)
    assert [row[1] for row in targets] == HAVE[:, 1].tolist()
    everything = plan(target=target)
    assert [row[::2] for row in targets] == [row[::2] for row in everything]


@pytest.mark.parametrize("target", ["absent", "balance", "global"])
def test_without_any_label_nothing_is_asked(target):
    assert plan(np.zeros((2, 3), dtype=int), target=target) == [[0, 0, 0], [0, 0, 0]]


def test_a_fixed_number_is_asked_for_even_without_any_label():
    assert plan(np.zeros((2, 3), dtype=int), target="balance", per_class=2) == [[2, 2, 2], [2, 2, 2]]


def test_what_is_missing_is_generated():
    target = np.array(plan(target="balance"))
    assert to_generate(HAVE, target, None).tolist() == [[0, 4, 6], [3, 0, 2], [4, 4, 4]]


def test_a_client_over_its_budget_is_cut_in_proportion():
    target = np.array(plan(target="balance"))
    # 0 : 4 : 6 of 5 images; 3 + 0 + 2 fit already; 4 : 4 : 4 of 5, the remainders to the first
    assert to_generate(HAVE, target, 5).tolist() == [[0, 2, 3], [3, 0, 2], [2, 2, 1]]


TABLES = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 200))


@given(TABLES, st.data())
def test_a_plan_takes_nothing_away_and_keeps_its_budget(have, data):
    kind = data.draw(st.sampled_from(["absent", "balance", "global", "fixed"]))
    settings = Synthesis(
        target=kind,
        per_class=data.draw(st.integers(1, 300) if kind == "fixed" else st.none() | st.integers(1, 300)),
        budget=data.draw(st.none() | st.integers(1, 300)),
    )
    learnable = np.array(data.draw(st.lists(st.booleans(), min_size=have.shape[1], max_size=have.shape[1])))
    target = plan_targets(have, learnable, settings)
    assert target.shape == have.shape
    assert np.issubdtype(target.dtype, np.integer)
    assert (target >= have).all()
    assert (target[:, ~learnable] == have[:, ~learnable]).all()

    wanted = to_generate(have, target, settings.budget)
    assert np.issubdtype(wanted.dtype, np.integer)
    assert (wanted >= 0).all()
    assert (wanted <= target - have).all()
    if settings.budget is None:
        assert (have + wanted == target).all()
    else:
        assert (wanted.sum(axis=1) == np.minimum((target - have).sum(axis=1), settings.budget)).all()


@given(TABLES)
def test_global_plans_have_the_global_mixture(have):
    target = plan_targets(have, np.full(have.shape[1], True), Synthesis(target="global"))
    if have.any():
        share = have.sum(axis=0) / have.sum()
        for row in target:
            scale = np.max(np.where(share > 0, row / np.where(share > 0, share, 1), 0))
            assert (row <= share * scale + 1e-6).all()
            assert (row >= np.floor(share * (scale - 1 / share[share > 0].min()))).all()
