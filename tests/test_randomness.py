"""Named randomness: a draw depends on its name and on nothing else."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.randomness import generator

NAMES = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**64), "stage": st.text(max_size=5), "purpose": st.text(max_size=5)},
    optional={name: st.integers(0, 2**40) for name in ("round_index", "client_id", "class_id", "index")},
)


@given(NAMES)
def test_the_same_name_gives_the_same_stream(name):
    assert (generator(**name).random(5) == generator(**name).random(5)).all()


@given(NAMES, NAMES)
def test_other_names_give_other_streams(one, other):
    same_name = {**dict.fromkeys(("round_index", "client_id", "class_id", "index")), **one} == {
        **dict.fromkeys(("round_index", "client_id", "class_id", "index")),
        **other,
    }
    assert (generator(**one).random() == generator(**other).random()) == same_name


def test_seed_stage_purpose_round_client_class_and_index_each_give_their_own_stream():
    names = [
        {"seed": 1},
        {"stage": "b"},
        {"purpose": "q"},
        {"round_index": 1},
        {"client_id": 1},
        {"class_id": 1},
        {"index": 1},
        {"round_index": 0},
        {"client_id": 0},
        {},
    ]
    draws = [generator(**({"seed": 0, "stage": "a", "purpose": "p"} | name)).random() for name in names]
    assert len(set(draws)) == len(names)


def test_a_round_is_not_mistaken_for_a_client():
    pairs = itertools.combinations(["round_index", "client_id", "class_id", "index"], 2)
    for one, other in pairs:
        assert generator(0, "a", "p", **{one: 3}).random() != generator(0, "a", "p", **{other: 3}).random()


def test_no_draw_comes_after_another():
    generator(0, "a", "p").random(1000)
    np.random.default_rng(0).random(10)
    first = generator(0, "a", "q").random()
    generator(0, "a", "p")
    assert generator(0, "a", "q").random() == first


def test_streams_stay_what_they_were_in_every_release():
    """A change of these numbers is a change of every result: bump the version of every stage with it."""
    name = {"round_index": 3, "client_id": 2, "class_id": 1, "index": 0}
    assert generator(7, "stage", "purpose", **name).bit_generator.random_raw(2).tolist() == GOLDEN


GOLDEN = [8086919413025256557, 12665223384018928922]
