"""Sums whose bits depend neither on the order of the terms nor on who added up which of them."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedsyn.federated.exact import LIMIT, STEP, ExactSum

SIZE = 5
Terms = list[tuple[Tensor, float]]


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    """Vectors with |x| < LIMIT over many orders of magnitude, and weights that sum to 1."""
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    magnitude = LIMIT * 10.0 ** rng.uniform(-12, 0, (count, SIZE))
    vectors = (rng.uniform(-1, 1, (count, SIZE)) * magnitude).astype(np.float32)
    amounts = rng.integers(1, draw(st.sampled_from([2, 1000, 10**9])), count)
    return [(torch.from_numpy(x), float(n / amounts.sum())) for x, n in zip(vectors, amounts, strict=True)]


def total(added: Sequence[tuple[Tensor, float]]) -> Tensor:
    exact = ExactSum.zeros(SIZE)
    for vector, weight in added:
        exact.add(vector, weight)
    return exact.total


@given(terms(), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bits(added, random):
    expected = total(added)
    random.shuffle(added)
    assert torch.equal(total(added), expected)


@given(terms(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_any_grouping_over_workers_gives_the_same_bits(added, workers, random):
    expected = total(added)
    parts = [ExactSum.zeros(SIZE) for _ in range(workers)]
    for vector, weight in added:
        random.choice(parts).add(vector, weight)
    random.shuffle(parts)
    whole = ExactSum.zeros(SIZE)
    for part in parts:
        whole.merge(part.total)
    assert torch.equal(whole.total, expected)


@given(terms())
def test_a_sum_agrees_with_the_exact_one_and_is_a_multiple_of_the_step(added):
    summed = total(added)
    for place in range(SIZE):
        exact = math.fsum(weight * float(vector[place]) for vector, weight in added)
        assert summed[place].item() == pytest.approx(exact, rel=0, abs=1e-9)
        assert (summed[place].item() / STEP).is_integer()


@pytest.mark.parametrize(
    ("dtype", "values"), [(torch.float32, [3000.0, -3000.0, 1e-5]), (torch.float64, [0.1, 0.2, 0.3])]
)
def test_plain_sums_do_depend_on_the_order(dtype, values):
    one = torch.ones(SIZE)
    forth, back = ([(one, value) for value in order] for order in (values, values[::-1]))
    assert not torch.equal(*(sum(value * vector.to(dtype) for vector, value in order) for order in (forth, back)))
    assert torch.equal(total(forth), total(back))


def test_a_mean_by_hand():
    added = [(torch.tensor([1.0, -8.0]), 0.25), (torch.tensor([5.0, 0.0]), 0.75)]
    exact = ExactSum.zeros(2)
    for vector, weight in added:
        exact.add(vector, weight)
    assert exact.total.tolist() == [4.0, -2.0]
    assert exact.total.dtype == torch.float64


def test_the_greatest_terms_are_still_exact():
    largest = float(np.nextafter(np.float32(LIMIT), np.float32(0)))
    exact = ExactSum.zeros(1)
    for _ in range(1000):
        exact.add(torch.tensor([largest]), 1 / 1024)
        exact.add(torch.tensor([-largest]), 1 / 1024)
        exact.add(torch.tensor([largest]), 1.0)
        exact.add(torch.tensor([-largest]), 1.0)
    assert exact.total.item() == 0


def test_half_a_step_is_the_most_that_is_lost():
    exact = ExactSum.zeros(2)
    exact.add(torch.tensor([0.4 * STEP, 0.6 * STEP]), 1.0)
    assert exact.total.tolist() == [0.0, STEP]
    assert 2**-14 * torch.finfo(torch.float32).eps > STEP  # finer than the last digit of a weight above 1e-4


def test_adding_leaves_its_terms_as_they_are():
    vector, exact = torch.tensor([1.0, 2.0]), ExactSum.zeros(2)
    exact.add(vector, 0.5)
    assert vector.tolist() == [1.0, 2.0]
