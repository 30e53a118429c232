"""The temperature by hand, against a search of its own, and from the clients' parts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fedsyn.pseudo_labels.temperature import TEMPERATURES, best_temperature, log_loss_sums


def drawn(seed: int, count: int = 60, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 3), and labels drawn from softmax(logits); sharpness 2 doubles the logits afterwards."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((count, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = np.array([rng.choice(3, p=row) for row in chances])
    return (sharpness * logits).astype(np.float32), true


def test_the_log_loss_by_hand():
    """Logits 0 and log 3 are probabilities 1/4 and 3/4; at T = 1/2 they are 1/10 and 9/10."""
    sums = log_loss_sums(np.array([[0.0, math.log(3)]] * 2), np.array([1, 0]), np.array([1.0, 0.5]))
    assert sums == pytest.approx([-math.log(3 / 4) - math.log(1 / 4), -math.log(9 / 10) - math.log(1 / 10)])


def test_log_probabilities_do_as_well_as_logits():
    logits, true = drawn(0)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert log_loss_sums(logits, true) == pytest.approx(log_loss_sums(log_probabilities, true), rel=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.7, 1.0, 2.0]))
def test_the_grid_finds_what_a_continuous_search_finds(seed, sharpness):
    logits, true = drawn(seed, sharpness=sharpness)

    def loss(log_t: float) -> float:
        return float(log_loss_sums(logits, true, np.array([math.exp(log_t)]))[0])

    best = minimize_scalar(loss, bounds=(-math.log(4), math.log(4)), method="bounded").x
    step = math.log(TEMPERATURES[1] / TEMPERATURES[0])
    assert math.log(best_temperature(log_loss_sums(logits, true))) == pytest.approx(best, abs=step)


def test_confidences_that_are_twice_too_sharp_ask_for_a_temperature_of_two():
    assert best_temperature(log_loss_sums(*drawn(0, 4000, sharpness=2.0))) == pytest.approx(2.0, rel=0.1)


def test_what_the_clients_send_adds_up():
    logits, true = drawn(1)
    parts = sum(log_loss_sums(logits[rows], true[rows]) for rows in (slice(7), slice(7, 7), slice(7, None)))
    assert parts == pytest.approx(log_loss_sums(logits, true))


def test_without_samples_nothing_is_changed():
    nothing = log_loss_sums(np.empty((0, 3)), np.empty(0, int))
    assert nothing.tolist() == [0.0] * len(TEMPERATURES)
    assert best_temperature(nothing) == 1.0


def test_faultless_predictions_end_at_the_end_of_the_grid():
    assert best_temperature(log_loss_sums(np.eye(3), np.arange(3))) == pytest.approx(1 / 4)
