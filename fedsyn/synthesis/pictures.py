"""Images as the rows of a table: PNG in the layout of Hugging Face datasets, in and out in constant memory."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 1024
"""Rows of a table that are in memory at once."""

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def to_png(image: np.ndarray) -> bytes:
    """The PNG file of an image (H, W, C) uint8 with one channel or three."""
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def from_png(png: bytes) -> np.ndarray:
    """The image of a PNG file, (H, W, C) uint8 with one channel or three."""
    pixels = np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def picture_column(images: np.ndarray, names: Sequence[str]) -> pa.Array:
    """Images (n, H, W, C) uint8 as a column of PNG files with these names."""
    pictures = [{"bytes": to_png(image), "path": name} for image, name in zip(images, names, strict=True)]
    return pa.array(pictures, PICTURE)


def read_pictures(path: Path) -> np.ndarray:
    """The images of a table's column `image`, (n, H, W, C) uint8; beside them at most `ROWS` PNG files are in memory.

    Raises:
        ValueError: the images differ in shape.
    """
    file = pq.ParquetFile(path)
    images, done = np.empty((0, 0, 0, 0), np.uint8), 0
    for batch in file.iter_batches(ROWS, columns=["image.bytes"]):
        for png in batch.column("image").field("bytes"):
            pixels = from_png(png.as_py())
            if done == 0:
                images = np.empty((file.metadata.num_rows, *pixels.shape), np.uint8)
            if pixels.shape != images.shape[1:]:
                raise ValueError(f"{path}: image {done} has shape {pixels.shape}, the ones before {images.shape[1:]}")
            images[done] = pixels
            done += 1
    return images


def deal_out(tables: Iterable[pa.Table], dealt: pd.DataFrame) -> Iterator[pa.Table]:
    """What each client gets, with a column client_id, in tables of at most `ROWS` rows.

    `tables`: the drawn images, in order; `dealt`: client_id, and `image`, the number of the drawn image; sorted by it.
    An image that several clients get stands in as many rows that follow each other, where Parquet keeps its bytes once.
    """
    image, client_id = dealt["image"].to_numpy(), dealt["client_id"].to_numpy(np.int16)
    first = 0
    for table in tables:
        begin, end = np.searchsorted(image, [first, first + len(table)])
        for start in range(begin, end, ROWS):
            rows = slice(start, min(start + ROWS, end))
            yield table.take(image[rows] - first).append_column("client_id", pa.array(client_id[rows]))
        first += len(table)
