"""Fitting a codebook: it finds clusters, weighs by count, repeats, and its file is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sjd2.heroes import codes
from sjd2.heroes.codes import split
from sjd2.heroes.fit_codes import SEED, cell_counts, fit, pictures, psnr, save


def test_it_finds_clusters_and_weighs_by_count() -> None:
    cells = np.array([[0, 0, 0], [4, 0, 0], [200, 200, 200], [90, 90, 90]], np.uint8)
    fitted = fit(cells, np.array([3, 1, 5, 2], np.float32), 3)
    assert fitted.entries.reshape(3, 3).tolist() == [[1, 0, 0], [90, 90, 90], [200, 200, 200]]


def test_counts_are_those_of_the_pictures() -> None:
    cells, often = cell_counts(2, 30)
    every = split(pictures(SEED, 0, 30), 2)
    expected, times = np.unique(every, axis=0, return_counts=True)
    order = np.lexsort(cells.T[::-1])
    assert np.array_equal(cells[order], expected)
    assert np.array_equal(often[order], times)


def test_more_entries_and_steps_help_and_a_fit_repeats(tmp_path: Path) -> None:
    cells, often = cell_counts(2, 200)
    shown = pictures(5, 0, 50, held_out=True)
    coarse, started, fine = fit(cells, often, 32), fit(cells, often, 256, 0), fit(cells, often, 256)
    assert psnr(coarse, shown) + 1 < psnr(fine, shown)
    assert psnr(started, shown) < psnr(fine, shown)
    assert np.array_equal(fit(cells, often, 32).entries, coarse.entries)
    save(tmp_path / "book.npz", fine)
    assert np.array_equal(codes.load(tmp_path / "book.npz").entries, fine.entries)
    assert [path.name for path in tmp_path.iterdir()] == ["book.npz"]


def test_too_few_cells_are_named() -> None:
    with pytest.raises(ValueError, match="K = 4 entries need as many different cells, got 2"):
        fit(np.array([[0, 0, 0], [1, 1, 1]], np.uint8), np.ones(2, np.float32), 4)
