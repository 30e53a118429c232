import numpy as np
import pandas as pd
import pytest

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
