"""Tokenised pictures: parquet files with the columns caption, codes, height, width.

codes is the picture in raster order, ``height * width`` integers in 0..V-1. One row is one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..atomic import replacing

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("caption", "codes", "height", "width")


@dataclass(frozen=True)
class Rows:
    """Tokenised pictures of one size, in memory.

    Attributes:
        captions: one text per picture, "" where there is none.
        codes: [n, height, width], uint16 or int32.
    """

    captions: list[str]
    codes: npt.NDArray[Any]


def parquet_files(source: Path) -> list[Path]:
    """The parquet file, or those in the folder, by name; none if the folder holds none."""
    if source.suffix == ".parquet":
        return [source]
    return sorted(path for path in source.glob("*.parquet") if not path.name.startswith("."))


def read_rows(files: Sequence[Path], height: int, width: int, V: int) -> Rows:
    """Read tokenised pictures.

    Args:
        files: parquet files. height, width: what every picture must have, in codes. V: number of codes.

    Raises: ValueError that names the file for missing columns, a picture of another size, or codes outside 0..V-1.
    """
    pq = _parquet()
    captions: list[str] = []
    parts: list[npt.NDArray[Any]] = []
    for file in files:
        lacking = sorted(set(COLUMNS) - set(pq.read_schema(file).names))
        if lacking:
            raise ValueError(f"finetune: {file} lacks the column {', '.join(lacking)}; see docs/finetune.md")
        table = pq.read_table(file, columns=list(COLUMNS))
        parts.append(_codes(table, file, height, width, V))
        captions += [text or "" for text in table["caption"].to_pylist()]
    if not captions:
        raise ValueError(f"finetune: there are no pictures in {', '.join(map(str, files)) or 'the data'}")
    return Rows(captions, np.concatenate(parts))


def write_rows(path: Path, captions: Sequence[str], codes: npt.NDArray[Any], note: str = "") -> None:
    """Write tokenised pictures of one size; the file is there whole or not at all.

    Args:
        path: parquet file. captions: texts. codes: [n, height, width]. note: kept in the file, see `note_of`.
    """
    import pyarrow as pa

    n, height, width = codes.shape
    flat = pa.array(codes.astype(np.int32).reshape(-1))
    columns = {
        "caption": pa.array(list(captions), pa.string()),
        "codes": pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * height * width), flat),
        "height": pa.array([height] * n, pa.int32()),
        "width": pa.array([width] * n, pa.int32()),
    }
    with replacing(path) as scratch:
        _parquet().write_table(pa.table(columns).replace_schema_metadata({"sjd2": note}), scratch)


def note_of(path: Path) -> str | None:
    """The note of a file that `write_rows` wrote; None if there is no file, or it has no note."""
    if not path.is_file():
        return None
    held = (_parquet().read_schema(path).metadata or {}).get(b"sjd2")
    return None if held is None else held.decode()


def _codes(table: pa.Table, file: Path, height: int, width: int, V: int) -> npt.NDArray[Any]:
    """[n, height, width]; the same checks for every row, whatever integer type the file has."""
    sizes = {(h, w) for h, w in zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)}
    if sizes - {(height, width)}:
        h, w = min(sizes - {(height, width)})
        raise ValueError(
            f"finetune: {file} holds a picture of {h} x {w} codes (height x width), the model draws {height} x "
            f"{width}; give the pictures' size with --size, or tokenise them again"
        )
    lists = table["codes"].combine_chunks()
    flat = np.asarray(lists.flatten())
    lengths = np.asarray(lists.value_lengths())
    if not (lengths == height * width).all():
        raise ValueError(
            f"finetune: {file}: every row of codes must hold height * width = {height * width} numbers, "
            f"got {int(lengths[lengths != height * width][0])}"
        )
    if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < V:
        raise ValueError(f"finetune: {file}: codes must be in 0..{V - 1}, got {int(flat.min())}..{int(flat.max())}")
    return flat.astype(np.uint16 if V <= 2**16 else np.int32).reshape(-1, height, width)


def _parquet() -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("finetune: data needs pyarrow: pip install 'sjd2-kernels[finetune]'") from error
    return pq
