"""Examples by (seed, index): a hero, its caption and its picture, each drawn anew from its own counter.

Draws come straight from the words of a Philox generator keyed by the seed with the index in its counter, so that an
example depends on nothing but its own (seed, index), in every version of numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .captions import ATTRIBUTES, caption
from .hero import Hero, compose
from .parts import BACKGROUNDS, PROBABILITIES, SLOTS, names

if TYPE_CHECKING:
    from .codes import Codebook

HELD_OUT = 16  # one combination in so many is kept from training
NO_CAPTION, DROPPED = 0.1, 0.3  # shares of examples without a caption, and of attributes left out of a short caption
_KEY = 0x6865726F6573  # keeps these draws apart from other uses of the same seed


class Example(NamedTuple):
    """One example.

    Attributes:
        hero: what the picture shows.
        caption: the text, "" where the caption was dropped.
        seed: of the picture's mottled background: ``picture(hero, seed)``.
    """

    hero: Hero
    caption: str
    seed: int


def is_held_out(hero: Hero) -> bool:
    """Whether the hero's combination of base, body, head piece or hair, and weapon is kept from training.

    It depends on a hash of the four names, so that all heroes with this combination lie on one side.
    """
    chosen = "/".join(hero.parts.get(slot, "-") for slot in ("base", "body", "head", "hair", "hand1"))
    return hashlib.blake2b(chosen.encode(), digest_size=8).digest()[0] % HELD_OUT == 0


def _uniforms(seed: int, index: int) -> Iterator[tuple[float, ...]]:
    """Per attempt the uniform numbers in [0, 1) of one example."""
    for attempt in range(2**32):
        key, counter = np.array([seed, _KEY], np.uint64), np.array([0, index, attempt, 0], np.uint64)
        words = np.random.Philox(key=key, counter=counter).random_raw(2 * len(SLOTS) + 5 + len(ATTRIBUTES))
        yield tuple(((words >> np.uint64(11)) * 2.0**-53).tolist())
    raise AssertionError("2^32 heroes on one side of the held-out rule")


def _hero(uniform: tuple[float, ...], mottled: bool | None) -> Hero:
    chosen: dict[str, str] = {}
    for place, slot in enumerate(SLOTS):
        if uniform[2 * place] < PROBABILITIES[slot] and not (slot == "hair" and "head" in chosen):
            known = names(slot)
            chosen[slot] = known[int(uniform[2 * place + 1] * len(known))]
    more = uniform[2 * len(SLOTS) :]
    return Hero(
        tuple(BACKGROUNDS)[int(more[0] * len(BACKGROUNDS))], more[1] < 0.5 if mottled is None else mottled, chosen
    )


def example(
    seed: int, index: int, *, mottled: bool | None = None, full: bool | None = None, held_out: bool = False
) -> Example:
    """The example number ``index`` of a stream.

    Args:
        seed, index: 0 .. 2^64 - 1.
        mottled: the background; None: mottled in half of the examples.
        full: a caption that says all, or one in which each attribute is left out with probability 0.3; None: half and
            half, and no caption at all in one example of ten. The hero does not depend on it.
        held_out: draw from the combinations that training never sees; these always have a caption.

    Returns:
        The same example for the same arguments, on every machine.

    Example:
        >>> example(0, 7, full=True).caption.startswith("the ")
        True
    """
    for uniform in _uniforms(seed, index):
        hero = _hero(uniform, mottled)
        if is_held_out(hero) == held_out:
            break
    drop_all, short, noise, *attributes = uniform[2 * len(SLOTS) + 2 :]
    picture_seed = int(noise * 2**53)
    if full is None and not held_out and drop_all < NO_CAPTION:
        return Example(hero, "", picture_seed)
    if short < 0.5 if full is None else full:
        return Example(hero, caption(hero), picture_seed)
    dropped = {name for name, u in zip(ATTRIBUTES, attributes, strict=True) if u < DROPPED}
    return Example(hero, caption(hero, dropped), picture_seed)


def batch(
    seed: int,
    start: int,
    count: int,
    codebook: Codebook,
    *,
    mottled: bool | None = None,
    full: bool | None = None,
    held_out: bool = False,
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The examples start .. start + count - 1 of a stream, as captions and tokens.

    Args:
        seed, start, count: which examples.
        codebook: turns pictures into tokens, see `codes`.
        mottled, full, held_out: as for `example`.

    Returns:
        The captions, and [count, 16, 16] int64 codes ([count, 32, 32] with the palette).
    """
    examples = [
        example(seed, index, mottled=mottled, full=full, held_out=held_out) for index in range(start, start + count)
    ]
    pictures = compose([each.hero for each in examples], [each.seed for each in examples])
    return [each.caption for each in examples], codebook.encode(pictures)
