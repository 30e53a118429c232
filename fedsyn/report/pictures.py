"""Images of the data set laid side by side: real beside synthetic, original above reconstruction."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from fedsyn.report.text import shorten
from fedsyn.report.theme import LIGHT, WIDTH, Theme, dress, new_figure, plain

ONE_BLOCK = 20  # classes beyond which the picture is laid out in two blocks, each with its own pair of columns


def real_beside_synthetic(
    real: Sequence[np.ndarray],
    synthetic: Sequence[np.ndarray],
    class_names: Sequence[str],
    images_per_class: int,
    theme: Theme = LIGHT,
) -> Figure:
    """A row for each class: labelled images at the left, synthetic ones at the right; missing ones are empty.

    `real`, `synthetic`: for each class up to `images_per_class` images (n, H, W, 1 or 3) uint8, n may be 0.
    """
    num_classes, blocks = len(class_names), 1 if len(class_names) <= ONE_BLOCK else 2
    per_block = -(-num_classes // blocks)
    tile = (WIDTH / blocks - 0.9) / (2 * images_per_class + 0.6)  # inches
    figure = new_figure(theme, height=min(per_block * min(tile, 0.75) + 0.5, 14))
    columns = figure.subplots(1, 2 * blocks, squeeze=False)[0]
    for block in range(blocks):
        chosen = slice(block * per_block, min((block + 1) * per_block, num_classes))
        for axes, images, title in (
            (columns[2 * block], real[chosen], "Real"),
            (columns[2 * block + 1], synthetic[chosen], "Synthetic"),
        ):
            _show(axes, mosaic(images, images_per_class, theme), theme, title)
        _name_rows(columns[2 * block], class_names[chosen])
    return figure


def beside_nearest(
    pairs: Sequence[np.ndarray], class_names: Sequence[str], images_per_class: int, theme: Theme = LIGHT
) -> Figure:
    """A row for each class of pairs (n, H, 2 W, 1 or 3) uint8, n up to `images_per_class`; missing ones are empty."""
    num_classes, blocks = len(class_names), 1 if len(class_names) <= ONE_BLOCK else 2
    per_block = -(-num_classes // blocks)
    tile = (WIDTH / blocks - 0.9) / (2 * images_per_class + 0.6)  # inches
    figure = new_figure(theme, height=min(per_block * min(tile, 0.75) + 0.5, 14))
    for block, axes in enumerate(figure.subplots(1, blocks, squeeze=False)[0]):
        chosen = slice(block * per_block, min((block + 1) * per_block, num_classes))
        parted = [_with_seam(images, theme) for images in pairs[chosen]]
        title = "Pairs: a synthetic image, its nearest training image"
        _show(axes, mosaic(parted, images_per_class, theme), theme, title)
        _name_rows(axes, class_names[chosen])
    return figure


def reconstruction_strip(original: np.ndarray, reconstruction: np.ndarray, theme: Theme = LIGHT) -> Figure:
    """Test images (n, H, W, 1 or 3) uint8 above what the autoencoder makes of them."""
    count = len(original)
    figure = new_figure(theme, height=2 * (WIDTH - 1.0) / max(1, count) + 0.25)
    axes = figure.subplots()
    picture = mosaic([original, reconstruction], count, theme)
    _show(axes, picture, theme, "")
    axes.set_yticks(np.array([0.25, 0.75]) * picture.shape[0] - 0.5, ["original", "restored"])
    return figure


def mosaic(rows: Sequence[np.ndarray], per_row: int, theme: Theme = LIGHT) -> np.ndarray:
    """Rows of images (n, H, W, 1 or 3) uint8 on one canvas (H', W', 3) in [0, 1], with gaps of paper.

    A row with fewer than `per_row` images is filled up with plain tiles in the colour of the grid.
    """
    height, width = rows[0].shape[1:3]
    gap = max(1, round(min(height, width) / 10))
    paper, empty = np.array(to_rgb(theme.paper)), np.array(to_rgb(theme.grid))
    canvas = np.empty((len(rows) * (height + gap) - gap, per_row * (width + gap) - gap, 3))
    canvas[:] = paper
    for row, images in enumerate(rows):
        for column in range(per_row):
            top, left = row * (height + gap), column * (width + gap)
            tile = images[column] / 255 if column < len(images) else empty
            canvas[top : top + height, left : left + width] = tile  # one channel broadcasts to three
    return canvas


def decode(png: bytes) -> np.ndarray:
    """The pixels of a stored image, (H, W, 1 or 3) uint8."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _with_seam(pairs: np.ndarray, theme: Theme) -> np.ndarray:
    """Pairs (n, H, 2 W, 1 or 3) with a hairline of paper in the middle and a margin at the right, in three channels."""
    count, height, width, _ = pairs.shape
    paper = np.round(255 * np.array(to_rgb(theme.paper))).astype(np.uint8)
    seam = np.broadcast_to(paper, (count, height, max(1, height // 20), 3))
    left, right = np.split(np.broadcast_to(pairs, (count, height, width, 3)), 2, axis=2)
    return np.concatenate([left, seam, right, seam, seam], axis=2)


def _name_rows(axes: Axes, class_names: Sequence[str]) -> None:
    rows, height = len(class_names), axes.get_ylim()[0] + 0.5
    axes.set_yticks((np.arange(rows) + 0.5) * (height / rows) - 0.5, [shorten(name) for name in class_names])
    plain(axes.get_yticklabels())


def _show(axes: Axes, picture: np.ndarray, theme: Theme, title: str) -> None:
    # small images are shown pixel by pixel; large ones are scaled down smoothly
    axes.imshow(picture, interpolation="nearest" if picture.shape[1] < 400 else "antialiased")
    dress(axes, theme, title)
    axes.set_xticks([])
    axes.set_yticks([])
