"""Tokenised pictures as parquet: what is written is read, what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sjd2.finetune.rows import note_of, parquet_files, read_rows, write_rows

CODES = np.arange(24).reshape(4, 2, 3) % 8


def foreign(path: Path, **changes: object) -> Path:
    """A file as another program writes it: other integer types, chunks, a column more."""
    columns = {
        "caption": ["a", None, "c"],
        "codes": pa.array([row.reshape(-1).tolist() for row in CODES[:3]], pa.list_(pa.int64())),
        "height": pa.array([2] * 3, pa.int16()),
        "width": pa.array([3] * 3, pa.int64()),
        "source": ["x"] * 3,
    }
    pq.write_table(pa.table({name: value for name, value in (columns | changes).items() if value is not None}), path)
    return path


@pytest.mark.parametrize(("V", "dtype"), [(8, np.uint16), (2**16, np.uint16), (2**16 + 1, np.int32)])
def test_what_is_written_is_read(tmp_path: Path, V: int, dtype: type) -> None:
    for name, part in (("b", slice(2, 4)), ("a", slice(0, 2))):
        write_rows(tmp_path / f"{name}.parquet", ["x", "y"], CODES[part], note=name)
    rows = read_rows(parquet_files(tmp_path), 2, 3, V)
    assert rows.captions == ["x", "y", "x", "y"]
    assert np.array_equal(rows.codes, CODES)
    assert rows.codes.dtype == dtype
    assert note_of(tmp_path / "b.parquet") == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_files_of_other_programs(tmp_path: Path) -> None:
    path = foreign(tmp_path / "x.parquet")
    rows = read_rows(parquet_files(path), 2, 3, 8)
    assert rows.captions == ["a", "", "c"]
    assert np.array_equal(rows.codes, CODES[:3])
    assert note_of(path) is None
    assert note_of(tmp_path / "nothing.parquet") is None
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(CODES[:3].reshape(-1)), 6)
    assert np.array_equal(read_rows([foreign(path, codes=fixed)], 2, 3, 8).codes, CODES[:3])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(ValueError, match=r"x.parquet lacks the column codes, width; see docs/finetune.md"):
        read_rows([foreign(path, codes=None, width=None)], 2, 3, 8)
    with pytest.raises(ValueError, match=r"holds a picture of 2 x 3 codes .* the model draws 3 x 2; .* --size"):
        read_rows([foreign(path)], 3, 2, 8)
    with pytest.raises(ValueError, match=r"must hold height \* width = 6 numbers, got 5"):
        read_rows([foreign(path, codes=[[0] * 6, [0] * 5, [0] * 6])], 2, 3, 8)
    with pytest.raises(ValueError, match=r"codes must be in 0\.\.4, got 0\.\.7"):
        read_rows([foreign(path)], 2, 3, 5)
    with pytest.raises(ValueError, match="there are no pictures in the data"):
        read_rows([], 2, 3, 5)
