"""Images as rows: there and back, dealt out as a plain loop would, and a shared one stored once."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsyn.synthesis import pictures
from fedsyn.synthesis.pictures import deal_out, from_png, picture_column, read_pictures, to_png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_an_image_comes_back_as_it_was(image):
    assert (from_png(to_png(image)) == image).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_images_of_a_table_are_read_in_order(tmp_path, monkeypatch, channels):
    images = np.random.default_rng(0).integers(0, 256, (23, 5, 4, channels), dtype=np.uint8)
    table = pa.table({"image": picture_column(images, [f"{number}.png" for number in range(23)])})
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=4)
    monkeypatch.setattr(pictures, "ROWS", 7)  # neither a multiple of a row group nor a divisor of the whole
    assert (read_pictures(tmp_path / "images.parquet") == images).all()


def test_images_of_different_shapes_are_refused(tmp_path):
    columns = [picture_column(np.zeros((1, size, 3, 1), np.uint8), ["x.png"]) for size in (3, 4)]
    pq.write_table(pa.table({"image": pa.chunked_array(columns)}), tmp_path / "images.parquet")
    with pytest.raises(ValueError, match=r"image 1 has shape \(4, 3, 1\), the ones before \(3, 3, 1\)"):
        read_pictures(tmp_path / "images.parquet")


def naive_deal(tables: list[pa.Table], dealt: pd.DataFrame) -> list[tuple[str, int]]:
    names = [name for table in tables for name in table["name"].to_pylist()]
    return [(names[image], client_id) for image, client_id in dealt[["image", "client_id"]].to_numpy()]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), max_size=6), st.data())
def test_dealing_batch_by_batch_is_dealing_all_at_once(sizes, data):
    total = sum(sizes)
    names = [f"image {number}" for number in range(total)]
    ends = np.cumsum(sizes)
    tables = [pa.table({"name": names[end - size : end]}) for size, end in zip(sizes, ends, strict=True)]
    owners = data.draw(st.lists(st.sets(st.integers(0, 3)), min_size=total, max_size=total))
    pairs = [(image, client_id) for image, clients in enumerate(owners) for client_id in sorted(clients)]
    dealt = pd.DataFrame(pairs, columns=["image", "client_id"], dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "ROWS", 3)
        found = list(deal_out(iter(tables), dealt))
    rows = [(row["name"], row["client_id"]) for table in found for row in table.to_pylist()]
    assert rows == naive_deal(tables, dealt)
    assert all(0 < len(table) <= 3 for table in found)


def test_an_image_that_ten_clients_share_is_stored_once(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 1), dtype=np.uint8)  # noise: nothing to compress
    table = pa.table({"image": picture_column(images, [f"{number}.png" for number in range(50)])})
    sizes = {}
    for clients in (1, 10):
        dealt = pd.DataFrame({"image": np.arange(50).repeat(clients), "client_id": np.tile(np.arange(clients), 50)})
        path = tmp_path / f"{clients}.parquet"
        with pq.ParquetWriter(path, table.schema.append(pa.field("client_id", pa.int16())), compression="zstd") as out:
            for part in deal_out([table], dealt):
                out.write_table(part)
        sizes[clients] = path.stat().st_size
        assert (read_pictures(path) == images.repeat(clients, axis=0)).all()
    assert sizes[10] < 1.2 * sizes[1]
