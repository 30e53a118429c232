"""How often a stage keeps what it has: by rounds, by seconds, and not more than it costs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsyn.artifacts import Checkpoints, Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def slow(clock: list[float], seconds: float) -> Callable[[Path], None]:
    """Writes a file, and takes its time."""

    def write(path: Path) -> None:
        path.write_text("slowly")
        clock[0] += seconds

    return write


def test_by_rounds_one_is_due_after_so_many(tmp_path):
    checkpoints = Checkpoints(tmp_path, Pace(rounds=3, seconds=None))
    assert [checkpoints.due(rounds) for rounds in range(5)] == [False, False, False, True, True]


def test_by_seconds_one_is_due_after_so_many_since_the_last(tmp_path, clock):
    checkpoints = Checkpoints(tmp_path, Pace(seconds=30.0))
    for now, due in ((1000.0, False), (1029.9, False), (1030.0, True), (1100.0, True)):
        clock[0] = now
        assert checkpoints.due() == due
    checkpoints.save(0, 1, "txt", slow(clock, 0.0))
    for now, due in ((1100.0, False), (1129.9, False), (1130.0, True)):
        clock[0] = now
        assert checkpoints.due() == due


def test_the_first_of_rounds_and_seconds_decides(tmp_path, clock):
    checkpoints = Checkpoints(tmp_path, Pace(rounds=3, seconds=30.0))
    assert checkpoints.due(3)
    assert not checkpoints.due(2)
    clock[0] += 30
    assert checkpoints.due(2)


def test_without_a_pace_none_is_ever_due(tmp_path, clock):
    checkpoints = Checkpoints(tmp_path, Pace(rounds=None, seconds=None))
    clock[0] += 1e9
    assert not checkpoints.due(10**9)


def test_a_pace_of_no_seconds_keeps_whenever_asked(tmp_path, clock):
    checkpoints = Checkpoints(tmp_path, Pace(seconds=0.0))
    assert checkpoints.due()
    checkpoints.save(0, 1, "txt", slow(clock, 5.0))
    assert checkpoints.due()


def test_one_that_takes_long_to_keep_is_due_less_often(tmp_path, clock):
    checkpoints = Checkpoints(tmp_path, Pace(rounds=7, seconds=30.0))
    checkpoints.save(0, 1, "txt", slow(clock, 2.0))
    clock[0] += 199.9
    assert not checkpoints.due()
    assert checkpoints.due(7)  # rounds are counted whatever it costs
    clock[0] += 0.1
    assert checkpoints.due()
    checkpoints.save(0, 2, "txt", slow(clock, 0.01))
    clock[0] += 30
    assert checkpoints.due()
