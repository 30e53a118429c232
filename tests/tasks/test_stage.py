"""What every stage's task does: what it tries again, and what it is called."""

import importlib

import pytest
import torch
from prefect import flow
from prefect.runtime import task_run
from prefect.states import Failed

from fedsyn.artifacts import StoreError, StoreUnavailable
from fedsyn.interruption import Interrupted
from tasks.stage import may_succeed_later, stage_task
from tests.e2e.tiny import STAGE_NAMES as STAGES


class OutOfMemoryError(Exception):
    """Of another library, CuPy say."""


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (StoreUnavailable("the server is busy"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (OutOfMemoryError(), True),
        (StoreError("the bucket does not exist"), False),
        (Interrupted("stopped by SIGTERM"), False),
        (ValueError("a loss is not finite"), False),
        (MemoryError(), False),
    ],
)
def test_only_what_others_may_set_right_is_tried_again(error, later):
    assert may_succeed_later(None, None, Failed(data=error)) is later


# --- under Prefect ---


def carried_out(*errors: Exception):
    """The state of a stage's task that fails with these errors, one an attempt, and then succeeds; and the name and
    number of each attempt. No delay between them."""
    left, attempts = list(errors), []

    @stage_task
    def some_stage() -> str:
        attempts.append((task_run.name, task_run.run_count))
        if left:
            raise left.pop(0)
        return "done"

    @flow
    def around():
        states.append(some_stage.with_options(retry_delay_seconds=0)(return_state=True))

    states: list = []
    around()
    return states[0], attempts


@pytest.mark.e2e
@pytest.mark.usefixtures("prefect_server")
class TestUnderPrefect:
    def test_a_store_that_does_not_answer_once_is_asked_again(self):
        state, attempts = carried_out(StoreUnavailable("busy"))
        assert state.is_completed()
        assert state.result() == "done"
        assert attempts == [("some_stage", 1), ("some_stage", 2)]

    def test_after_three_retries_the_stage_has_failed(self):
        state, attempts = carried_out(*[StoreUnavailable("busy")] * 9)
        assert state.is_failed()
        assert isinstance(state.result(raise_on_failure=False), StoreUnavailable)
        assert len(attempts) == 4

    def test_what_stays_wrong_is_not_tried_again(self):
        state, attempts = carried_out(StoreUnavailable("busy"), StoreError("no such bucket"))
        assert isinstance(state.result(raise_on_failure=False), StoreError)
        assert len(attempts) == 2


def test_every_stage_waits_longer_from_retry_to_retry():
    for name in STAGES:
        task = getattr(importlib.import_module(f"tasks.{name}"), name)
        assert (task.retries, task.retry_delay_seconds) == (3, [5, 20, 60])
        assert task.retry_condition_fn is may_succeed_later
