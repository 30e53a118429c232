"""Progress in a terminal and in a log file, over several runs."""

import io
import logging

import pytest
from rich.console import Console

from fedsyn.context import Progress
from fedsyn.terminal import StageProgress


def tell(stage: str, done: int, total: int, key: str) -> None:
    event = Progress(stage, done, total, "rounds", key=key)
    logging.getLogger("fedsyn.progress").info("%s: round %d of %d", stage, done, total, extra={"progress": event})


def test_in_a_log_file_every_run_has_a_line_for_each_tenth():
    text = io.StringIO()
    with StageProgress(Console(file=text)):
        for rounds in (20, 40):
            for done in range(1, rounds + 1):
                tell("classifier", done, rounds, key=str(rounds))
    lines = text.getvalue().splitlines()
    assert len(lines) == 20
    assert (lines[0], lines[9]) == ("classifier: round 2 of 20", "classifier: round 20 of 20")
    assert (lines[10], lines[19]) == ("classifier: round 4 of 40", "classifier: round 40 of 40")


@pytest.mark.parametrize("reached", [3, 10])
def test_a_bar_starts_anew_in_the_next_run_also_after_one_that_failed(reached):
    with StageProgress(Console(file=io.StringIO(), force_terminal=True)) as progress:
        for done in range(1, reached + 1):
            tell("classifier", done, 10, key="first")
        tell("classifier", 1, 20, key="second")
        (bar,) = progress.bars.tasks
        assert (bar.completed, bar.total, bar.finished) == (1, 20, False)
