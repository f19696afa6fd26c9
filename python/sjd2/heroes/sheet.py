"""A contact sheet of heroes, each beside its round trip through the tokens.

python -m sjd2.heroes.sheet --out docs/heroes.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..atomic import replacing
from .codes import palette, patches
from .hero import picture
from .stream import example

GAP = (32, 32, 36)


def tile(pictures: npt.NDArray[np.uint8], columns: int, *, scale: int = 1, gap: int = 4) -> npt.NDArray[np.uint8]:
    """Pictures in rows, enlarged by nearest neighbour.

    Args:
        pictures: [n, height, width, 3] uint8.
        columns: pictures in a row.
        scale: how many times larger.
        gap: pixels between and around the pictures, after enlarging.

    Returns:
        [rows * (scale * height + gap) + gap, columns * (scale * width + gap) + gap, 3] uint8.

    Example:
        >>> tile(np.zeros((3, 32, 32, 3), np.uint8), 2, scale=2, gap=1).shape
        (131, 131, 3)
    """
    large = pictures.repeat(scale, 1).repeat(scale, 2)
    n, height, width, _ = large.shape
    canvas = np.empty((-(-n // columns) * (height + gap) + gap, columns * (width + gap) + gap, 3), np.uint8)
    canvas[:] = GAP
    for place, shown in enumerate(large):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        canvas[top : top + height, left : left + width] = shown
    return canvas


def heroes(seed: int, count: int) -> npt.NDArray[np.uint8]:
    """[count, 32, 32, 3] uint8 held-out pictures, the first half on flat backgrounds, the others on mottled ones."""
    chosen = [example(seed, index, mottled=2 * index >= count, held_out=True) for index in range(count)]
    return np.stack([picture(each.hero, each.seed) for each in chosen])


def write_png(path: Path, shown: npt.NDArray[np.uint8]) -> None:
    """Write [height, width, 3] uint8; a reader sees the old file or the new one, never a part."""
    from PIL import Image

    with replacing(path) as scratch:
        Image.fromarray(shown).save(scratch, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=24, help="heroes")
    parser.add_argument("--palette", action="store_true", help="the round trip through 1,024 tokens instead of 256")
    parser.add_argument("--out", type=Path, default=Path("heroes.png"))
    chosen = parser.parse_args(arguments)
    shown = heroes(chosen.seed, chosen.count)
    codebook = palette() if chosen.palette else patches()
    pairs = np.concatenate([shown, codebook.decode(codebook.encode(shown))], axis=2)
    write_png(chosen.out, tile(pairs, 6, scale=4))
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
