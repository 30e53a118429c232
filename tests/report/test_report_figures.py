import numpy as np
import pandas as pd
import pytest

from fedsyn.report.calibration import precision_by_coverage, reliability_diagram
from fedsyn.report.clients import client_accuracy_change
from fedsyn.report.curves import accuracy_by_round
from fedsyn.report.heatmaps import confusion_matrices, partition_heatmaps
from fedsyn.report.ladder import ladder
from fedsyn.report.pictures import mosaic, real_beside_synthetic
from fedsyn.report.text import shorten
from fedsyn.report.theme import DARK, LIGHT, png, shown_ticks

COUNTS = np.array([[3, 0], [0, 120]])


def test_a_figure_has_the_same_bytes_twice() -> None:
    first, second = (png(partition_heatmaps(COUNTS, 9 * COUNTS, ["a", "b"])) for _ in range(2))
    assert first == second
    assert b"Software" not in first
    assert b"tIME" not in first


def test_themes_differ() -> None:
    light, dark = (png(partition_heatmaps(COUNTS, COUNTS, ["a", "b"], theme)) for theme in (LIGHT, DARK))
    assert light != dark


def test_rounds_that_were_not_measured_are_skipped() -> None:
    before = pd.DataFrame({"round": [1, 2, 3], "test_accuracy": [0.1, None, 0.5]})
    after = before.assign(test_accuracy=None)
    drawn = accuracy_by_round(before, after).axes[0].get_lines()
    assert drawn[0].get_xydata().tolist() == [[1, 0.1], [3, 0.5]]  # type: ignore[union-attr]
    assert len(drawn) == 2  # the curve and its end; nothing for a training without any measurement


def test_confusion_is_shown_as_shares_of_the_row() -> None:
    figure = confusion_matrices(np.array([[3, 1], [0, 0]]), np.array([[4, 0], [0, 0]]), ["a", "b"])
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["75", "25"]  # the class that was never tested has no numbers


def test_large_maps_have_no_numbers() -> None:
    many = np.ones((100, 100), dtype=np.int64)
    figure = partition_heatmaps(many, many, [f"${index}_{{" for index in range(100)])
    assert not figure.axes[0].texts
    assert png(figure)  # class names that look like broken formulas are drawn as they are


def test_client_without_labels_is_said_to_have_none() -> None:
    axes = client_accuracy_change(np.array([0.5, np.nan]), np.array([0.6, np.nan])).axes[0]
    assert [text.get_position()[1] for text in axes.texts] == [1]


def test_mosaic_leaves_empty_tiles_and_gaps() -> None:
    white = np.full((1, 10, 10, 1), 255, np.uint8)
    canvas = mosaic([white, white[:0]], per_row=2)
    assert canvas.shape == (21, 21, 3)  # two tiles of ten and a gap of one
    assert canvas[0, 0].tolist() == [1, 1, 1]
    assert canvas[11, 0] == pytest.approx(canvas[0, 11])  # nothing there: the colour of an empty tile
    assert canvas[11, 0] != pytest.approx(canvas[0, 0])


def test_colour_and_missing_images_lie_side_by_side() -> None:
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert png(real_beside_synthetic([red, red], [red, red[:0]], ["a", "b"], 3))


def test_reliability_marks_each_confidence_that_has_predictions() -> None:
    """Of three predictions above 0.5 two are right; below it there is none of the unlabelled ones."""
    hidden, calibration = np.array([[[2, 1], [0, 0]]] * 2), np.array([[[3, 1], [0, 0]], [[3, 0], [0, 0]]])
    axes = reliability_diagram(np.array([0.0, 0.5]), calibration, hidden).axes[0]
    drawn = [np.ma.getdata(marks.get_offsets())[:, 1].tolist() for marks in axes.collections]
    assert drawn == [pytest.approx([np.nan, 2 / 3], nan_ok=True), [0, 1]]


def test_precision_is_drawn_against_the_share_kept() -> None:
    """Class 0: 3 of 4 right, then 2 of 2; class 1 is never predicted for a calibration sample and keeps nothing."""
    hidden = np.array([[[3, 0], [1, 2]], [[2, 0], [0, 1]]])
    calibration = np.array([[[1, 0], [1, 0]], [[1, 0], [0, 0]]])
    figure = precision_by_coverage(calibration, hidden, np.array([0.5, np.nan]), ["a", "b"], None)
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines == {"kept": [[0.5, 0], [0.5, 1]], "true": [[1, 0.75], [0.5, 1]], "estimated": [[1, 0.5], [0.5, 1]]}
    assert [line.get_label() for line in figure.axes[1].get_lines()] == ["true", "estimated"]


def test_of_many_classes_the_most_predicted_ones_are_drawn() -> None:
    hidden = np.diag(np.arange(100))[None]
    figure = precision_by_coverage(hidden, hidden, np.ones(100), [str(c) for c in range(100)], 0.95)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [str(c) for c in range(80, 100)]


def test_precision_is_drawn_where_nothing_is_known() -> None:
    nothing = np.zeros((2, 3, 3), np.int64)
    assert png(precision_by_coverage(nothing, nothing, np.full(3, np.nan), ["a", "b", "$c_{"], None))
    assert png(reliability_diagram(np.array([0.0, 0.5]), nothing, nothing))


@pytest.mark.parametrize(("count", "ticks"), [(3, [0, 1, 2]), (100, list(range(0, 100, 5))), (1, [0])])
def test_ticks_are_thinned(count: int, ticks: list[int]) -> None:
    assert list(shown_ticks(count)) == ticks


def test_long_names_are_shortened() -> None:
    assert shorten("aquarium_fish", 10) == "aquarium_…"
    assert shorten("owl") == "owl"


def test_a_ladder_has_the_rungs_that_were_trained() -> None:
    numbers = {"labels_only_accuracy": 0.7, "retrained_accuracy": 0.75, "central_accuracy": 0.8}
    axes = ladder(numbers | {"all_labels_accuracy": float("nan")}).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "labels only"
    assert len(axes.get_yticks()) == 3
    assert [text.get_text().split("(")[-1] for text in axes.texts][1:] == ["+5.0)", "+10.0)"]


def test_no_two_ticks_of_a_short_ladder_are_called_alike() -> None:
    figure = ladder({"labels_only_accuracy": 0.841, "retrained_accuracy": 0.85, "central_accuracy": 0.864})
    png(figure)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(ticks) > 3
    assert len(set(ticks)) == len(ticks)
    assert "84.5 %" in ticks
