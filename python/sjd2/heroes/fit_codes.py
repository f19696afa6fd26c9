"""Fit a codebook: weighted k-means over the different cells of generated training pictures.

python -m sjd2.heroes.fit_codes --K 2048          the patches, data/codebook.npz
python -m sjd2.heroes.fit_codes --cell 1 --K 256  the palette, data/palette.npz
python -m sjd2.heroes.fit_codes --compare         a table of K against PSNR on held-out pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..atomic import replacing
from .codes import Codebook, cell_keys, keyed_cells, split, unique_keys
from .hero import compose
from .stream import example

PICTURES, STEPS, SEED = 20_000, 20, 4  # the stream SEED is fitted, SEED + 1 is measured
LUMINANCE = np.array([299, 587, 114])


def pictures(
    seed: int, start: int, count: int, *, mottled: bool | None = None, held_out: bool = False
) -> npt.NDArray[np.uint8]:
    """[count, 32, 32, 3] uint8 of a stream."""
    chosen = [example(seed, index, mottled=mottled, held_out=held_out) for index in range(start, start + count)]
    return compose([each.hero for each in chosen], [each.seed for each in chosen])


def cell_counts(cell: int, count: int = PICTURES) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The different cells of training pictures, [m, cell * cell * 3] uint8, and how often each occurs, [m]."""
    keys: npt.NDArray[np.uint64] = np.zeros((0, 2), np.uint64)
    often: npt.NDArray[np.float64] = np.zeros(0)
    for start in range(0, count, 2000):
        new, back = unique_keys(cell_keys(split(pictures(SEED, start, min(2000, count - start)), cell)))
        keys, merged = unique_keys(np.concatenate([keys, new]))
        often = np.bincount(merged, np.concatenate([often, np.bincount(back)]), len(keys)).astype(np.float64)
    return keyed_cells(keys, cell), often.astype(np.float32)


def _start(cells: npt.NDArray[np.float32], often: npt.NDArray[np.float32], K: int) -> npt.NDArray[np.float32]:
    """K different cells by k-means++: each drawn with probability count times squared distance to those before."""
    rng = np.random.Generator(np.random.Philox(SEED))
    chosen = [int(often.argmax())]
    nearest = ((cells - cells[chosen[0]]) ** 2).sum(1)
    for _ in range(K - 1):
        reached = np.cumsum(often * nearest, dtype=np.float64)
        chosen.append(int(np.searchsorted(reached, rng.random() * reached[-1], side="right")))
        np.minimum(nearest, ((cells - cells[chosen[-1]]) ** 2).sum(1), out=nearest)
    return cells[chosen]


def fit(cells: npt.NDArray[np.uint8], often: npt.NDArray[np.float32], K: int, steps: int = STEPS) -> Codebook:
    """Weighted k-means.

    Args:
        cells: [m, cell * cell * 3] uint8, all different, m >= K.
        often: [m] float32, how much each counts.
        K: entries of the codebook.
        steps: rounds of Lloyd's algorithm.

    Returns:
        The codebook, entries rounded to whole numbers and sorted from dark to light; the same for the same arguments
        on the same machine.
    """
    if len(cells) < K:
        raise ValueError(f"fit_codes: K = {K} entries need as many different cells, got {len(cells)}")
    points = cells.astype(np.float32)
    centres = _start(points, often, K)
    for _ in range(steps):
        owner = np.empty(len(points), np.intp)
        norms = (centres * centres).sum(1)
        for begin in range(0, len(points), 4096):
            owner[begin : begin + 4096] = (norms - points[begin : begin + 4096] @ (2 * centres.T)).argmin(1)
        mass = np.bincount(owner, often, K)
        sums = np.stack([np.bincount(owner, often * points[:, d], K) for d in range(points.shape[1])], 1)
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-9)[:, None], centres).astype(np.float32)
    entries = np.rint(centres).astype(np.uint8)
    light = entries.reshape(K, -1, 3).astype(np.int64).sum(1) @ LUMINANCE
    order = np.lexsort((*entries.T[::-1], light))
    cell = {3: 1, 12: 2}[cells.shape[1]]
    return Codebook(entries[order].reshape(K, cell, cell, 3))


def psnr(codebook: Codebook, shown: npt.NDArray[np.uint8]) -> float:
    """Decibels of the round trip, from the mean squared error over all pictures."""
    error = shown.astype(np.float64) - codebook.decode(codebook.encode(shown))
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-12)))


def save(path: Path, codebook: Codebook) -> None:
    """Write the table; a reader sees the old file or the new one, never a part."""
    with replacing(path) as scratch:
        np.savez_compressed(scratch, entries=codebook.entries)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", type=int, choices=(1, 2), default=2, help="pixels along one side of a cell")
    parser.add_argument("--K", type=int, default=2048, help="entries of the table")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="training pictures to fit")
    parser.add_argument("--compare", action="store_true", help="fit several K and print PSNR, write nothing")
    parser.add_argument("--out", type=Path, help="file to write instead of the package's own")
    chosen = parser.parse_args()
    name = "codebook.npz" if chosen.cell == 2 else "palette.npz"
    out = chosen.out or Path(__file__).parent / "data" / name
    cells, often = cell_counts(chosen.cell, chosen.pictures)
    print(f"{len(cells)} different cells in {chosen.pictures} pictures")
    flat, mottled = (pictures(SEED + 1, 0, 1000, mottled=kind, held_out=True) for kind in (False, True))
    several = (512, 1024, 2048, 4096) if chosen.cell == 2 else (256, 504)
    for K in several if chosen.compare else (chosen.K,):
        codebook = fit(cells, often, K)
        print(
            f"K {K}: {psnr(codebook, flat):.2f} dB flat, {psnr(codebook, mottled):.2f} dB mottled, held-out", flush=True
        )
        if not chosen.compare:
            save(out, codebook)
            print(f"wrote {out}")


if __name__ == "__main__":
    main()
