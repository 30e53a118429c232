"""What a training shows of itself while it goes on."""

import math
from io import BytesIO

from fedsyn.report.live import course_so_far
from fedsyn.report.preview import preview
from fedsyn.report.theme import png

COURSE = [
    {"round": 1, "clients": 3, "train_loss": 2.0, "test_accuracy": 0.1},
    {"round": 2, "clients": 0, "train_loss": math.nan},
    {"round": 3, "clients": 3, "train_loss": 0.5, "test_accuracy": 0.6},
]


def test_each_quantity_is_a_curve_over_all_rounds_to_come_and_what_was_not_measured_is_left_out():
    loss, accuracy = course_so_far(COURSE, total=10).axes
    assert [axes.get_title(loc="left") for axes in (loss, accuracy)] == ["train loss", "test accuracy"]
    assert loss.lines[0].get_xydata().tolist() == [[1, 2.0], [3, 0.5]]
    assert accuracy.lines[0].get_xydata().tolist() == [[1, 0.1], [3, 0.6]]
    assert loss.get_xlim() == (0, 10)
    assert accuracy.get_ylim() == (0, 1)


def test_its_picture_is_small_enough_for_a_database():
    assert len(preview(BytesIO(png(course_so_far(COURSE, total=10))))) < 60_000


def test_a_single_quantity_has_the_figure_for_itself():
    assert len(course_so_far([{"round": 1, "clients": 1, "train_loss": 1.0}], total=2).axes) == 1
