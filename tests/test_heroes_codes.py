"""Codebooks: the nearest entry, exactly, whatever was encoded before; and the shipped tables are good."""

from __future__ import annotations

import numpy as np
import pytest
from sjd2.heroes import codes
from sjd2.heroes.codes import Codebook
from sjd2.heroes.fit_codes import pictures, psnr


def literal(codebook: Codebook, picture: np.ndarray) -> np.ndarray:
    """Codes by integer distances, cell by cell."""
    c = codebook.cell
    entries = codebook.entries.astype(np.int64)
    found = np.empty((codebook.side, codebook.side), np.int64)
    for y, x in np.ndindex(*found.shape):
        cell = picture[y * c : y * c + c, x * c : x * c + c].astype(np.int64)
        found[y, x] = ((entries - cell) ** 2).sum((1, 2, 3)).argmin()
    return found


@pytest.mark.parametrize("shipped", [codes.patches, codes.palette])
def test_codes_are_the_nearest_entries(shipped) -> None:
    codebook = Codebook(shipped().entries)
    shown = pictures(7, 0, 2)
    shown[1] = np.random.default_rng(0).integers(0, 256, shown[1].shape)
    for _ in range(2):  # cold, then from the cache
        found = codebook.encode(shown)
        assert all(np.array_equal(found[n], literal(codebook, shown[n])) for n in range(2))


def test_cells_that_share_a_place_in_the_cache_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_CACHE_BITS", 3)
    codebook = Codebook(codes.patches().entries)
    shown = pictures(8, 0, 6)
    for _ in range(3):
        assert np.array_equal(codebook.encode(shown), codes.patches().encode(shown))


def test_of_equal_entries_the_first_is_taken() -> None:
    entries = np.zeros((5, 2, 2, 3), np.uint8)
    entries[:2] = 9
    assert (Codebook(entries).encode(np.full((1, 32, 32, 3), 1, np.uint8)) == 2).all()


@pytest.mark.parametrize("shipped", [codes.patches, codes.palette])
def test_entries_are_their_own_nearest(shipped) -> None:
    codebook = shipped()
    K, side = codebook.K, codebook.side
    every = np.resize(np.arange(K), (-(-K // side**2), side, side))
    assert np.array_equal(codebook.encode(codebook.decode(every)), every)


def test_sizes_and_quality_of_the_shipped_tables() -> None:
    assert (codes.patches().K, codes.patches().side) == (2048, 16)
    assert (codes.palette().K, codes.palette().side) == (504, 32)
    for mottled in (False, True):
        shown = pictures(9, 0, 100, mottled=mottled, held_out=True)
        assert psnr(codes.patches(), shown) > 26.5
        assert psnr(codes.palette(), shown) > 40


@pytest.mark.parametrize("shipped", [codes.patches, codes.palette])
def test_entries_run_from_dark_to_light(shipped) -> None:
    entries = shipped().entries
    light = entries.reshape(len(entries), -1, 3).astype(int).sum(1) @ np.array([299, 587, 114])
    assert (np.diff(light) >= 0).all()


def test_bad_shapes_are_refused() -> None:
    codebook = codes.patches()
    with pytest.raises(ValueError, match="entries must be"):
        Codebook(np.zeros((4, 3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="pictures must be"):
        codebook.encode(np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="codes must be"):
        codebook.decode(np.zeros((1, 32, 32), np.int64))
    with pytest.raises(ValueError, match=r"must lie in 0 \.\. 2047"):
        codebook.decode(np.full((1, 16, 16), 2048))
