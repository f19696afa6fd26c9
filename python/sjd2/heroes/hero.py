"""A hero, that is one choice of parts on a background, and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from .parts import BACKGROUNDS, SIZE, SLOTS, pictures

LATTICE = 9  # points of the noise lattice along one side
SHADE = 22  # distance between two of the three shades of a mottled background
_NOISE_KEY = 0x6D6F74746C65  # keeps the noise apart from other uses of the same seed


@dataclass(frozen=True)
class Hero:
    """One character: all that its picture depends on, but for the noise of a mottled background.

    Attributes:
        background: a name in `parts.BACKGROUNDS`.
        mottled: whether the background is mottled or flat.
        parts: name of the part by slot; slots without a part are left out. A base is needed; hair and a head piece
            exclude each other.

    Raises:
        ValueError: an unknown background, slot or part, no base, hair under a head piece.
    """

    background: str
    mottled: bool
    parts: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(f"hero: background must be one of {', '.join(BACKGROUNDS)}, got {self.background!r}")
        for slot, name in self.parts.items():
            if (slot, name) not in pictures():
                raise ValueError(f"hero: there is no part {name!r} in slot {slot!r}; slots are {', '.join(SLOTS)}")
        if "base" not in self.parts:
            raise ValueError("hero: parts must name a base")
        if "head" in self.parts and "hair" in self.parts:
            raise ValueError("hero: hair is not seen under a head piece; give one of the two")
        object.__setattr__(self, "parts", {slot: self.parts[slot] for slot in SLOTS if slot in self.parts})

    def __hash__(self) -> int:
        return hash((self.background, self.mottled, *self.parts.items()))


@cache
def _layers() -> dict[tuple[str, str], tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]]:
    """Per part its pixels as one integer each, and where it is opaque."""
    return {key: (_packed(rgba[..., :3]), rgba[..., 3] > 0) for key, rgba in pictures().items()}


def _packed(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """[..., 3] uint8 as [...] uint32: red in the lowest byte."""
    wide = rgb.astype(np.uint32)
    return (wide << np.array([0, 8, 16], np.uint32)).sum(-1, dtype=np.uint32)


@cache
def _shades(background: str) -> npt.NDArray[np.uint32]:
    """[3] uint32: the dark, the plain and the light shade of a background."""
    colour = np.array(BACKGROUNDS[background])
    return _packed(np.clip(colour + SHADE * np.array([[-1], [0], [1]]), 0, 255).astype(np.uint8))


@cache
def _spread() -> npt.NDArray[np.float32]:
    """[32, 9] float32: eight times the weights of linear interpolation from lattice points to pixel centres."""
    step = SIZE // (LATTICE - 1)
    weights = np.zeros((SIZE, LATTICE), np.float32)
    for pixel in range(SIZE):
        cell, offset = divmod(pixel, step)
        weights[pixel, cell + 1] = 2 * offset + 1
        weights[pixel, cell] = 2 * step - weights[pixel, cell + 1]
    return weights


def _mottle(seeds: Sequence[int]) -> npt.NDArray[np.intp]:
    """[n, 32, 32] of 0, 1, 2: which shade each pixel has. All numbers are integers below 2^24, so float32 is exact."""
    lattice = np.empty((len(seeds), LATTICE, LATTICE), np.float32)
    for row, seed in enumerate(seeds):
        words = np.random.Philox(key=np.array([seed, _NOISE_KEY], np.uint64)).random_raw(11).astype("<u8")
        lattice[row] = words.view(np.uint8)[: LATTICE * LATTICE].reshape(LATTICE, LATTICE)
    spread = _spread()
    height = spread @ lattice @ spread.T  # up to 255 * 64
    # thirds of the distribution of the interpolated heights, so that each shade covers about a third
    return (height > 104 * 64).astype(np.intp) + (height > 151 * 64)


def compose(heroes: Sequence[Hero], seeds: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The pictures of several heroes.

    Args:
        heroes: n heroes.
        seeds: n seeds in 0 .. 2^64 - 1 for the noise of the mottled backgrounds.

    Returns:
        [n, 32, 32, 3] uint8.
    """
    if len(heroes) != len(seeds):
        raise ValueError(f"hero: {len(heroes)} heroes need as many seeds, got {len(seeds)}")
    canvas = np.empty((len(heroes), SIZE, SIZE), np.uint32)
    mottled = [row for row, hero in enumerate(heroes) if hero.mottled]
    shades = _mottle([seeds[row] for row in mottled])
    for row, shade in zip(mottled, shades, strict=True):
        canvas[row] = _shades(heroes[row].background)[shade]
    layers = _layers()
    for picture_, hero in zip(canvas, heroes, strict=True):
        if not hero.mottled:
            picture_[:] = _shades(hero.background)[1]
        for slot, name in hero.parts.items():
            pixels, opaque = layers[slot, name]
            np.copyto(picture_, pixels, where=opaque)
    return np.ascontiguousarray(canvas.astype("<u4").view(np.uint8).reshape(-1, SIZE, SIZE, 4)[..., :3])


def opaque(heroes: Sequence[Hero]) -> npt.NDArray[np.bool_]:
    """[n, 32, 32] bool, where a picture shows the hero and not the background."""
    layers, nowhere = _layers(), np.zeros((SIZE, SIZE), bool)
    return np.stack([np.any([nowhere, *(layers[key][1] for key in hero.parts.items())], 0) for hero in heroes])


def picture(hero: Hero, seed: int = 0) -> npt.NDArray[np.uint8]:
    """The picture of a hero.

    Args:
        hero: what to draw.
        seed: of the noise of a mottled background, 0 .. 2^64 - 1; a flat one does not depend on it.

    Returns:
        [32, 32, 3] uint8.

    Example:
        >>> picture(Hero("green", False, {"base": "dwarf_m", "body": "robe_blue"})).shape
        (32, 32, 3)
    """
    return compose([hero], [seed])[0]
