"""The batch that a memory holds, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsyn.synthesis.batches import LARGEST, ON_CPU, SHARE, batch_size_for, fitting_batch

MB = 2**20


@pytest.mark.parametrize(
    ("peaks", "total", "batch"),
    [
        # models take 100 MB and an image 10: of 2,000 MB half is for us, (1,000 - 100) / 10 = 90 images, so 64
        ((180, 260), 2000, 64),
        ((180, 260), 2 * (100 + 640), 64),
        ((180, 260), 2 * (100 + 640) - 1, 32),
        ((180, 260), 10**9, LARGEST),
        ((180, 260), 2 * 110, 1),
        ((180, 260), 150, 1),  # not even one fits: one is tried, and its failure told
        ((100, 100), 2000, LARGEST),  # too little to be seen
    ],
)
def test_a_batch_is_the_largest_power_of_two_that_fits(peaks, total, batch):
    assert fitting_batch((8, 16), [peak * MB for peak in peaks], total * MB) == batch


@given(st.integers(0, 10**11), st.integers(1, 10**9), st.integers(10**8, 10**12))
def test_what_is_chosen_fits_and_twice_as_much_would_not(fixed, cost, total):
    batch = fitting_batch((8, 16), [fixed + 8 * cost, fixed + 16 * cost], total)
    assert batch == 1 or fixed + batch * cost <= SHARE * total
    assert batch == LARGEST or fixed + 2 * batch * cost > SHARE * total


def test_on_a_cpu_nothing_is_measured():
    def draw(count: int) -> None:
        raise AssertionError(count)

    assert batch_size_for(draw, torch.device("cpu")) == ON_CPU
