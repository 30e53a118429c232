"""Who gets which image: all that was planned, nothing twice, and a pool no larger than what one client needs."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsyn.synthesis.dealing import own_images, shared_pool

AMOUNTS = np.array([[0, 2], [3, 0], [1, 1]])  # of two classes, at three clients
TABLES = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.integers(0, 6))


def rows(table: pd.DataFrame, *names: str) -> list[tuple[int, ...]]:
    return [tuple(row) for row in table[list(names)].to_numpy().tolist()]


def test_without_a_pool_each_client_draws_what_it_lacks():
    drawn, dealt = own_images(AMOUNTS)
    expected = [(0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 0, 2), (2, 0, 0), (2, 1, 0)]
    assert rows(drawn, "client_id", "class_id", "index") == expected
    assert rows(dealt, "image", "client_id") == [(number, row[0]) for number, row in enumerate(expected)]


def test_a_pool_has_of_each_class_what_the_neediest_client_lacks():
    drawn, dealt = shared_pool(AMOUNTS, seed=0)
    assert list(drawn) == ["class_id", "index"]  # nobody's: the noise knows no client
    assert rows(drawn, "class_id", "index") == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert len(dealt) == 7
    assert set(dealt.loc[dealt["client_id"] == 1, "image"]) == {0, 1, 2}
    assert set(dealt.loc[dealt["client_id"] == 0, "image"]) == {3, 4}


@settings(max_examples=40)
@given(TABLES, st.booleans(), st.integers(0, 3))
def test_every_client_gets_what_was_planned_and_no_image_twice(amounts, shared, seed):
    drawn, dealt = shared_pool(amounts, seed) if shared else own_images(amounts)
    assert not dealt.duplicated().any()
    assert not drawn.duplicated().any()
    counted = np.zeros_like(amounts)
    np.add.at(counted, (dealt["client_id"].to_numpy(), drawn["class_id"].to_numpy()[dealt["image"]]), 1)
    assert (counted == amounts).all()
    assert dealt["image"].is_monotonic_increasing
    if not shared:
        assert set(dealt["image"]) == set(range(len(drawn)))


@settings(max_examples=25)
@given(TABLES, st.integers(0, 3), st.data())
def test_a_client_that_needs_less_gets_a_part_of_what_it_would_get_and_the_others_notice_nothing(amounts, seed, data):
    client_id = data.draw(st.integers(0, len(amounts) - 1))
    less = amounts.copy()
    less[client_id] -= np.minimum(less[client_id], 2)
    amounts, less = (np.vstack([part, np.full(amounts.shape[1], 6)]) for part in (amounts, less))  # one pool for both
    before, after = (shared_pool(part, seed)[1] for part in (amounts, less))
    assert set(rows(after, "client_id", "image")) <= set(rows(before, "client_id", "image"))
    others = [table[table["client_id"] != client_id].reset_index(drop=True) for table in (before, after)]
    assert others[0].equals(others[1])


def test_clients_get_different_parts_and_other_ones_with_another_seed():
    amounts = np.array([[200], [100], [100]])
    parts = {
        (seed, client_id): set(own["image"])
        for seed in (0, 1)
        for client_id, own in shared_pool(amounts, seed)[1].groupby("client_id")
    }
    assert parts[0, 0] == set(range(200))
    # two random halves share 50 of 100 on average, with a standard deviation of 3.5
    for one, other in (((0, 1), (0, 2)), ((0, 1), (1, 1))):
        assert 30 < len(parts[one] & parts[other]) < 70
