"""Heat maps: who holds which class, and which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fedsyn.report.theme import LIGHT, Theme, dress, label_classes, label_clients, new_figure

MOST_NUMBERED = 16  # rows or columns beyond which cells are too small for a number


def partition_heatmaps(
    labeled: np.ndarray, unlabeled: np.ndarray, class_names: Sequence[str], theme: Theme = LIGHT
) -> Figure:
    """Labelled and unlabelled images of each client (row) and class (column); counts (K, C), log colours."""
    figure = new_figure(theme, height=_height(len(labeled)))
    left, right = figure.subplots(1, 2)
    for axes, counts, title in ((left, labeled, "Labelled"), (right, unlabeled, "Unlabelled")):
        draw_counts(axes, counts, class_names, theme, f"{title}: {counts.sum():,} images")
    right.set_ylabel("")
    return figure


def confusion_matrices(
    before: np.ndarray, after: np.ndarray, class_names: Sequence[str], theme: Theme = LIGHT
) -> Figure:
    """Both classifiers' confusion on the test set: counts (C, C), in per cent of the true class (row)."""
    figure = new_figure(theme, height=4.3)
    left, right = figure.subplots(1, 2)
    for axes, counts, title in ((left, before, "Labels only"), (right, after, "Retrained")):
        rows = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
        image = _draw(axes, shares, Normalize(0, 1), theme)
        _write(axes, image, 100 * shares, theme)
        dress(axes, theme, f"{title}: each row sums to 100 %")
        label_classes(axes, class_names, "x")
        label_classes(axes, class_names, "y")
        axes.set_xlabel("predicted class")
    left.set_ylabel("true class")
    return figure


def draw_counts(axes: Axes, counts: np.ndarray, class_names: Sequence[str], theme: Theme, title: str) -> None:
    """One client-by-class map (K, C); an empty cell stays paper, so that absence is what one sees first."""
    shown = np.where(counts > 0, counts, np.nan)
    # the scale begins below one image, so that a single one already differs from none
    _write(axes, _draw(axes, shown, LogNorm(0.5, max(2, counts.max(initial=0))), theme), shown, theme)
    dress(axes, theme, title)
    label_classes(axes, class_names)
    axes.set_xlabel("class")
    label_clients(axes, len(counts))


def _draw(axes: Axes, values: np.ndarray, norm: Normalize, theme: Theme) -> AxesImage:
    image = axes.imshow(
        np.ma.masked_invalid(values), cmap=theme.colormap, norm=norm, aspect="auto", interpolation="nearest"
    )
    rows, columns = values.shape
    if _numbered(values):  # hairlines of paper between cells; on a large map they would hide the cells
        axes.set_xticks(np.arange(1, columns) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, rows) - 0.5, minor=True)
        axes.grid(which="minor", color=theme.paper, linewidth=1.2)
        axes.tick_params(which="minor", length=0)
    return image


def _write(axes: Axes, image: AxesImage, numbers: np.ndarray, theme: Theme) -> None:
    if not _numbered(numbers):
        return
    shades = np.ma.filled(image.norm(np.ma.asarray(image.get_array())), 0.0)
    for row, column in np.argwhere(np.nan_to_num(numbers).round() > 0).tolist():
        color = theme.paper if shades[row, column] > 0.55 else theme.ink
        text = f"{numbers[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)


def _numbered(values: np.ndarray) -> bool:
    return max(values.shape) <= MOST_NUMBERED


def _height(num_clients: int) -> float:
    return float(np.clip(0.3 * num_clients + 1.2, 2.4, 7.5))
