"""Pictures as tokens: each cell of 2 x 2 pixels (or each pixel) is replaced by the nearest entry of a table.

Both tables are fitted by `fit_codes`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from os import PathLike

import numpy as np
import numpy.typing as npt

from .parts import SIZE

_CACHE_BITS = 19


class Codebook:
    """A table of cells and the map from pictures to entries and back.

    Entries are whole numbers, so that squared distances are exact in float32 and a code does not depend on the batch,
    the machine or the number of threads. Cells that were seen before are looked up, not compared; `encode` writes to
    the table of seen cells, so two threads must not share one codebook.

    Args:
        entries: [K, cell, cell, 3] uint8, cell 1 or 2.

    Attributes:
        K, cell: as above.
        side: cells along one side of a picture, 32 // cell.
    """

    def __init__(self, entries: npt.NDArray[np.uint8]) -> None:
        if entries.dtype != np.uint8 or entries.ndim != 4 or entries.shape[1:] not in ((1, 1, 3), (2, 2, 3)):
            raise ValueError(f"codes: entries must be [K, cell, cell, 3] uint8, got {entries.dtype} {entries.shape}")
        self.entries = entries
        self.K, self.cell = len(entries), entries.shape[1]
        self.side = SIZE // self.cell
        flat = entries.reshape(self.K, -1).astype(np.float32)
        self._scaled, self._norms = 2 * flat.T, (flat * flat).sum(1)
        # a direct-mapped cache: per place the bytes of one cell, as two integers, and its code
        self._seen = np.zeros((2**_CACHE_BITS, 2), np.uint64)
        self._codes = np.full(2**_CACHE_BITS, -1, np.int32)

    def encode(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """The nearest entry of every cell; the lowest among equals.

        Args:
            pictures: [n, 32, 32, 3] uint8.

        Returns:
            [n, side, side] int64.
        """
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"codes: pictures must be [n, 32, 32, 3] uint8, got {pictures.dtype} {pictures.shape}")
        return self.encode_cells(split(pictures, self.cell)).reshape(-1, self.side, self.side)

    def encode_cells(self, cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """The nearest entry of cells that are given one by one.

        Args:
            cells: [m, cell * cell * 3] uint8, rows in raster order.

        Returns:
            [m] int64.
        """
        keys = cell_keys(cells)
        place = _places(keys)
        codes = self._codes[place]
        missed = np.flatnonzero((codes < 0) | (self._seen[place] != keys).any(1))
        if len(missed):
            unique, back = unique_keys(keys[missed])
            found = self._nearest(keyed_cells(unique, self.cell))
            codes[missed] = found[back]
            place = _places(unique)
            self._seen[place], self._codes[place] = unique, found
            # two new cells may share a place, and which of two writes wins is not said: keep what is consistent
            self._codes[place[(self._seen[place] != unique).any(1)]] = -1
        return codes.astype(np.int64)

    def _nearest(self, cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        found = np.empty(len(cells), np.int32)
        for begin in range(0, len(cells), 4096):
            some = cells[begin : begin + 4096].astype(np.float32)
            found[begin : begin + 4096] = (self._norms - some @ self._scaled).argmin(1)
        return found

    def decode(self, codes: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """The pictures that codes stand for.

        Args:
            codes: [n, side, side] of 0 .. K - 1.

        Returns:
            [n, 32, 32, 3] uint8.
        """
        if codes.shape[1:] != (self.side, self.side):
            raise ValueError(f"codes: codes must be [n, {self.side}, {self.side}], got {codes.shape}")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.K:
            raise ValueError(f"codes: codes must lie in 0 .. {self.K - 1}, got {codes.min()} .. {codes.max()}")
        cells = self.entries[codes]  # [n, side, side, cell, cell, 3]
        return cells.transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIZE, SIZE, 3)


def split(pictures: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.uint8]:
    """[n, 32, 32, 3] as [n * side * side, cell * cell * 3], rows in raster order."""
    side = SIZE // cell
    return pictures.reshape(-1, side, cell, side, cell, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, cell * cell * 3)


def cell_keys(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """[m, 2] uint64: the bytes of each cell, padded with zeros."""
    padded = np.zeros((len(cells), 16), np.uint8)
    padded[:, : cells.shape[1]] = cells
    return padded.view("<u8")


def keyed_cells(keys: npt.NDArray[np.uint64], cell: int) -> npt.NDArray[np.uint8]:
    """The inverse of `cell_keys`."""
    return np.ascontiguousarray(keys).view(np.uint8)[:, : cell * cell * 3]


def _places(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Where the cache holds each cell."""
    mixed = (keys[:, 0] ^ (keys[:, 1] * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD1B54A32D192ED03)
    places: npt.NDArray[np.uint64] = mixed >> np.uint64(64 - _CACHE_BITS)
    return places


def unique_keys(keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]]:
    """The different rows in ascending order, and for each row which of them it is."""
    order = np.lexsort((keys[:, 0], keys[:, 1]))
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    back = np.empty(len(keys), np.intp)
    back[order] = np.cumsum(new) - 1
    return ordered[new], back


def load(path: str | PathLike[str]) -> Codebook:
    """A codebook that `fit_codes` wrote."""
    with np.load(path) as stored:
        return Codebook(stored["entries"])


def _shipped(name: str) -> Codebook:
    with files(__package__).joinpath("data", name).open("rb") as file, np.load(file) as stored:
        return Codebook(stored["entries"])


@cache
def patches() -> Codebook:
    """The 2 x 2 patches that the shipped models use: 256 tokens a picture."""
    return _shipped("codebook.npz")


@cache
def palette() -> Codebook:
    """One colour a token: 1,024 tokens a picture."""
    return _shipped("palette.npz")
