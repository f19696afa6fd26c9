"""The pieces a hero is made of: 463 transparent pictures of 32 x 32 pixels in ten slots, and what each is called."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

SIZE = 32

# In the order of composition: what stands further down is painted over what stands above.
SLOTS = ("cloak", "base", "legs", "body", "boots", "gloves", "hand1", "hand2", "head", "hair")

# How often a generated hero has a part in the slot. Hair shows only without a head piece: its share is of those.
PROBABILITIES: Mapping[str, float] = MappingProxyType(
    {
        "cloak": 0.4,
        "base": 1.0,
        "legs": 0.5,
        "body": 0.75,
        "boots": 0.5,
        "gloves": 0.3,
        "hand1": 0.75,
        "hand2": 0.5,
        "head": 0.5,
        "hair": 0.7,
    }
)

BACKGROUNDS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "black": (12, 12, 16),
        "white": (245, 245, 245),
        "gray": (120, 120, 124),
        "blue": (60, 90, 170),
        "green": (60, 130, 70),
        "red": (150, 50, 50),
        "yellow": (220, 190, 80),
        "purple": (110, 70, 150),
    }
)

# Pixel-identical to robe_green and human_f: never generated, or two captions would name one picture.
TWINS = frozenset({("body", "vines"), ("base", "demigod_f")})


@cache
def pictures() -> Mapping[tuple[str, str], npt.NDArray[np.uint8]]:
    """Every part by (slot, name): [32, 32, 4] uint8 RGBA, alpha 0 or 255."""
    with files(__package__).joinpath("data", "hero_parts.npz").open("rb") as file, np.load(file) as stored:
        rgba = stored["rgba"]
        keys = zip(stored["slot"].tolist(), stored["name"].tolist(), strict=True)
        rgba.setflags(write=False)
        return MappingProxyType(dict(zip(keys, rgba, strict=True)))


@cache
def phrases() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """What every part is called, by (slot, name): the phrase that captions use, then others that are understood."""
    table = tomllib.loads(files(__package__).joinpath("data", "phrases.toml").read_text(encoding="utf-8"))
    return MappingProxyType({(slot, name): tuple(said) for slot in SLOTS for name, said in table[slot].items()})


@cache
def names(slot: str) -> tuple[str, ...]:
    """The parts that a generated hero can have in ``slot``, sorted."""
    return tuple(sorted(name for where, name in pictures() if where == slot and (where, name) not in TWINS))
