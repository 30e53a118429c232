"""What a folder writes it reads again: JSON, tensors, tables, the same bytes each time."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn.artifacts import Folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(JSON)
def test_json_comes_back_as_it_was(value):
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_json("value", value)
        assert folder.read_json("value") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_json_refuses_what_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        Folder(tmp_path).write_json("value", value)


DTYPES = {
    torch.uint8: np.uint8,
    torch.int64: np.int64,
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.bool: np.bool_,
}


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(list(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 200, shape).astype(DTYPES[dtype])
    tensor = torch.from_numpy(np.asarray(values))
    return tensor.transpose(0, -1) if tensor.ndim > 1 and draw(st.booleans()) else tensor


@settings(max_examples=50)
@given(st.dictionaries(st.text("abcdef./_", min_size=1, max_size=8), tensors(), max_size=4))
def test_tensors_come_back_as_they_were(named):
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_tensors("tensors", named)
        read = folder.read_tensors("tensors")
        assert read.keys() == named.keys()
        for name, tensor in named.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor)


SCHEMA = pa.schema([("sample_id", pa.int64()), ("label", pa.int16()), ("name", pa.string()), ("share", pa.float64())])
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.text(st.characters(codec="utf-8"), max_size=5),
        st.floats(allow_nan=False),
    )
)


@settings(max_examples=50)
@given(ROWS)
def test_tables_come_back_as_they_were(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    table = pd.DataFrame(
        {
            "name": pd.Series(columns[2], dtype="str"),
            "share": pd.Series(columns[3], dtype="float64"),
            "sample_id": pd.Series(columns[0], dtype="int64"),
            "label": pd.Series(columns[1], dtype="Int16"),
            "not in the schema": 0,
        }
    )
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        folder.write_table("table", table, SCHEMA)
        read = folder.read_table("table")
        assert list(read.columns) == SCHEMA.names
        assert read["sample_id"].tolist() == list(columns[0])
        assert [None if pd.isna(label) else int(label) for label in read["label"]] == list(columns[1])
        assert read["name"].tolist() == list(columns[2])
        assert read["share"].tolist() == list(columns[3])


def test_a_value_that_does_not_fit_its_column_is_refused(tmp_path):
    table = pd.DataFrame({"sample_id": [1], "label": [40_000], "name": ["a"], "share": [0.5]})
    with pytest.raises((pa.ArrowInvalid, OverflowError)):
        Folder(tmp_path).write_table("table", table, SCHEMA)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    table = pd.DataFrame({"sample_id": [1, 2], "label": [3, 4], "name": ["a", "b"], "share": [0.5, float("nan")]})
    one, two = torch.arange(6).reshape(2, 3), torch.ones(2)
    for name, index in (("first", [0, 1]), ("second", [7, 9])):
        folder = Folder(tmp_path / name)
        folder.write_table("table", table.set_axis(index), SCHEMA)
        reverse = name == "second"
        tensors = {"one": one if not reverse else one.t().contiguous().t(), "two": two.clone()}
        folder.write_tensors("tensors", dict(sorted(tensors.items(), reverse=reverse)))
        folder.write_json("json", dict(sorted({"a": 1, "b": [2.5]}.items(), reverse=reverse)))
    for file in ("table.parquet", "tensors.safetensors", "json.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
