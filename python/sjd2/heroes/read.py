"""Read a generated picture: which of the parts that a caption asks for does it show?

First the picture is explained: from the hero that was asked for (nothing where a short caption leaves a slot open), the
one change of a slot or of the background's colour that brings its picture nearest, in squared distance over all pixels,
is made as long as there is one; what is open is changed before what was asked for. So one wrong part is one change, and
its neighbours are not blamed for it. Then each attribute is judged within this explanation: what was asked for is
*right* if no other candidate is nearer, every part of the slot and none. An empty slot is asked for too, by "none".

- Candidates pass through the codebook first, as generated pictures did, so that its error does not count.
- A mottled background has three shades; each pixel is compared with the nearest of them.
- A part that the other parts asked for cover (no token of the picture depends on it) is not judged. Two parts that
  differ only where they are covered are both right; one that is covered by a part that was not asked for is wrong.
- What a short caption leaves open may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .captions import ATTRIBUTES, Wanted
from .codes import Codebook, split
from .hero import SHADE
from .parts import BACKGROUNDS, SIZE, SLOTS, pictures

OPEN = -1  # in Reading.asked: the caption says nothing
SHORTLIST, CHANGES = 8, 24
_BACKGROUND = len(SLOTS)  # index of the background among the attributes


@dataclass(frozen=True)
class Reading:
    """What n pictures show. Columns follow `captions.ATTRIBUTES`; numbers count in `candidates`.

    Attributes:
        asked: [n, 11] int64, what the caption asks for, `OPEN` where it says nothing.
        shown: [n, 11] int64, what explains the picture; what was asked for where that is right.
        judged: [n, 11] bool, whether the caption states it and the picture can show it.
        right: [n, 11] bool, whether it is judged and shown.
        present: [n, 11] bool, whether it is judged, and a part is shown where one was asked for, none where none was.
    """

    asked: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]
    judged: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]


@cache
def candidates(attribute: str) -> tuple[str | None, ...]:
    """What an attribute can be: None first and the parts of a slot sorted, or the colours of the background."""
    if attribute == "background":
        return tuple(BACKGROUNDS)
    return (None, *sorted(name for slot, name in pictures() if slot == attribute))


class _Slot(NamedTuple):
    """The K candidates of a slot by cell: [K, cells, pixels] packed colours, where they are opaque, and the weights of
    `_Batch.shortlist`, [5 * cells * pixels, K] float32."""

    colour: npt.NDArray[np.uint32]
    opaque: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]


@cache
def _slot(slot: str, cell: int) -> _Slot:
    rgba = np.stack([np.zeros((SIZE, SIZE, 4), np.uint8), *(pictures()[slot, str(n)] for n in candidates(slot)[1:])])
    rgb = split(rgba[..., :3], cell).reshape(len(rgba), -1, cell * cell, 3)
    alpha = split(rgba[..., 3:].repeat(3, -1), cell).reshape(rgb.shape)[..., 0] > 0
    wide = rgb.astype(np.float32)
    parts = [alpha, *(-2 * alpha * wide[..., c] for c in range(3)), alpha * (wide**2).sum(-1)]
    weights = np.concatenate([part.reshape(len(rgba), -1) for part in parts], 1).astype(np.float32).T
    return _Slot(_packed(rgb), alpha, np.ascontiguousarray(weights))


def _packed(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """[..., 3] bytes as [...] integers, so that one copy moves a pixel."""
    padded = np.zeros((*rgb.shape[:-1], 4), np.uint8)
    padded[..., :3] = rgb
    return padded.view("<u4")[..., 0]


def _unpacked(pixels: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.astype("<u4", copy=False))[..., None].view(np.uint8)[..., :3]


def _squares(difference: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """[..., 3] -> [...] sums of squares."""
    return np.einsum("...c,...c->...", difference, difference)


@cache
def _shades(mottled: bool) -> npt.NDArray[np.uint32]:
    """[8, S] packed: the shades of each background, one or three."""
    steps = np.array([-SHADE, 0, SHADE] if mottled else [0])
    colours = np.array(list(BACKGROUNDS.values()))[:, None] + steps[:, None]
    return _packed(np.clip(colours, 0, 255).astype(np.uint8))


class _Compared(NamedTuple):
    """Candidates of one attribute.

    Attributes:
        number: [n, m] int64; column 0 is none, 1 what the hero has now, 2 what was asked for.
        distance: [n, m] int64, squared, up to a constant per picture.
        visible: [n] bool, whether the tokens depend on the part that was asked for; for none, whether they could depend
            on some part.
    """

    number: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    visible: npt.NDArray[np.bool_]


class _Batch:
    """n pictures of one kind of background with the heroes that they are compared with.

    Args:
        shown: [n, 32, 32, 3] uint8.
        hero, asked: [n, 11] int64, a candidate per attribute.
        mottled: the kind of background.
        m: length of the shortlist; None is all.
    """

    def __init__(
        self,
        codebook: Codebook,
        shown: npt.NDArray[np.uint8],
        hero: npt.NDArray[np.int64],
        asked: npt.NDArray[np.int64],
        mottled: bool,
        m: int | None,
    ) -> None:
        self.codebook, self.hero, self.asked, self.m = codebook, hero, asked, m
        self.n, self.cell, self.shades = len(shown), codebook.cell, _shades(mottled)
        self.shown = split(shown, self.cell).reshape(self.n, -1, self.cell**2, 3).astype(np.int32)
        self.entries = codebook.entries.reshape(codebook.K, -1, 3).astype(np.int32)

    def layers(self, attribute: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
        """The heroes without one attribute, [n, S, cells, pixels], and [n, cells, pixels]: what would be seen of it."""
        _, cells, pixels, _ = self.shown.shape
        canvas = np.empty((self.n, self.shades.shape[1], cells, pixels), np.uint32)
        canvas[:] = self.shades[self.hero[:, _BACKGROUND]][:, :, None, None]
        free = np.ones((self.n, cells, pixels), bool)
        for place, name in enumerate(SLOTS):
            if place == attribute:
                continue
            colour, opaque, _ = _slot(name, self.cell)
            over = opaque[self.hero[:, place]]
            np.copyto(canvas, colour[self.hero[:, place]][:, None], where=over[:, None])
            if place > attribute or attribute == _BACKGROUND:
                free &= ~over
        return canvas, free

    def compare(self, attribute: int) -> _Compared:
        """Distances of the candidates of one attribute, the other attributes as the hero has them."""
        canvas, free = self.layers(attribute)
        if attribute == _BACKGROUND:
            return self._backgrounds(canvas, free)
        slot = _slot(SLOTS[attribute], self.cell)
        number = self.shortlist(slot, canvas, free, attribute)
        over = slot.opaque[number] & free[:, None]  # [n, m, cells, pixels]
        changed: npt.NDArray[np.bool_] = np.any(over, -1)
        i, j, c = np.nonzero(changed)
        tiles = np.where(over[i, j, c][:, None], slot.colour[number[i, j], c][:, None], canvas[i, :, c])
        codes, errors = self.judge(tiles, i, c)
        touched: npt.NDArray[np.bool_] = np.any(changed, 1)
        i0, c0 = np.nonzero(touched)
        codes0, errors0 = self.judge(canvas[i0, :, c0], i0, c0)
        back = np.empty(touched.shape, np.int64)
        back[i0, c0] = np.arange(len(i0))
        at, flat = back[i, c], i * number.shape[1] + j
        distance = np.bincount(flat, errors - errors0[at], number.size).astype(np.int64)
        trace = np.bincount(flat, (codes != codes0[at]).any(-1), number.size).reshape(number.shape) > 0
        some: npt.NDArray[np.bool_] = np.any(free & slot.opaque.any(0), (1, 2))
        return _Compared(number, distance.reshape(number.shape), np.where(number[:, 2] > 0, trace[:, 2], some))

    def _backgrounds(self, canvas: npt.NDArray[np.uint32], free: npt.NDArray[np.bool_]) -> _Compared:
        """All colours."""
        i, c = np.nonzero(free.any(-1))
        every = np.empty((self.n, len(self.shades)), np.int64)
        for colour, shades in enumerate(self.shades):
            tiles = np.where(free[i, c][:, None], shades[:, None], canvas[i, :, c])
            every[:, colour] = np.bincount(i, self.judge(tiles, i, c)[1], self.n)
        number = np.concatenate([self.fixed(_BACKGROUND), np.tile(np.arange(len(self.shades)), (self.n, 1))], 1)
        return _Compared(number, np.take_along_axis(every, number, 1), np.any(free, (1, 2)))

    def judge(
        self, tiles: npt.NDArray[np.uint32], picture: npt.NDArray[np.intp], cell: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """[q, S, pixels] cells: their codes [q, S], and [q] the squared distance of the round trip to the pictures."""
        q, S, pixels = tiles.shape
        codes = self.codebook.encode_cells(_unpacked(tiles).reshape(q * S, pixels * 3)).reshape(q, S)
        errors = _squares(self.entries[codes] - self.shown[picture, cell][:, None])  # [q, S, pixels]
        return codes, errors.min(1).sum(-1).astype(np.int64)

    def shortlist(
        self, slot: _Slot, canvas: npt.NDArray[np.uint32], free: npt.NDArray[np.bool_], attribute: int
    ) -> npt.NDArray[np.int64]:
        """[n, 3 + m] the fixed ones, and the m nearest before the round trip: one matrix product for all."""
        K, fixed = len(slot.colour), self.fixed(attribute)
        if self.m == 0:
            return fixed
        if self.m is None or self.m >= K:
            return np.concatenate([fixed, np.broadcast_to(np.arange(K), (self.n, K))], 1)
        behind = _squares(_unpacked(canvas).astype(np.int32) - self.shown[:, None]).min(1)
        gain = (_squares(self.shown) - behind) * free
        features = [gain, *(self.shown[..., c] * free for c in range(3)), free]
        flat = np.concatenate([each.reshape(self.n, -1) for each in features], 1).astype(np.float32)
        rough = flat @ slot.weights
        return np.concatenate([fixed, np.argpartition(rough, self.m, 1)[:, : self.m]], 1)

    def fixed(self, attribute: int) -> npt.NDArray[np.int64]:
        """[n, 3] none, what the hero has, what was asked for."""
        return np.stack([np.zeros(self.n, np.int64), self.hero[:, attribute], self.asked[:, attribute]], 1)


class Reader:
    """Reads pictures that were drawn in one codebook.

    Args:
        codebook: of the model that drew them; it remembers cells, so two threads must not share a reader.
        shortlist: how many parts of a slot are compared after the round trip, besides the asked one and none: those
            that are nearest before it. None compares all, with the same verdicts and about five times slower.

    Example:
        >>> from .codes import patches
        >>> from .captions import parse
        >>> from .hero import picture
        >>> caption = "the bearded dwarf in a blue robe, on a green background"
        >>> bool(Reader(patches()).read(picture(parse(caption).hero())[None], [parse(caption)]).right.all())
        True
    """

    def __init__(self, codebook: Codebook, shortlist: int | None = SHORTLIST) -> None:
        self.codebook, self.shortlist = codebook, shortlist

    def read(self, shown: npt.NDArray[np.uint8], wanted: Sequence[Wanted]) -> Reading:
        """Judge pictures by their captions.

        Args:
            shown: [n, 32, 32, 3] uint8.
            wanted: what was asked for, from `captions.parse`.

        Returns:
            The verdicts; the same for the same picture in any batch.
        """
        if len(shown) != len(wanted):
            raise ValueError(f"read: {len(shown)} pictures need as many captions, got {len(wanted)}")
        asked = np.array([_numbers(each) for each in wanted], np.int64).reshape(-1, len(ATTRIBUTES))
        mottled = np.array([each.mottled is not False for each in wanted], bool)
        out = Reading(asked, asked.copy(), *(np.zeros(asked.shape, bool) for _ in range(3)))
        for kind in (False, True):
            rows = np.flatnonzero(mottled == kind)
            if len(rows):
                self._read(out, rows, shown[rows], kind)
        return out

    def _read(self, out: Reading, rows: npt.NDArray[np.intp], shown: npt.NDArray[np.uint8], mottled: bool) -> None:
        asked = out.asked[rows]
        hero = np.maximum(asked, 0)
        if (asked == OPEN).any():
            self._explain(hero, asked, shown, mottled, asked == OPEN)
        right = self._explain(hero, asked, shown, mottled, np.ones(asked.shape, bool))
        context = np.where(asked == OPEN, hero, asked)
        batch = _Batch(self.codebook, shown, context, context, mottled, 0)
        visible = np.stack([batch.compare(attribute).visible for attribute in range(len(ATTRIBUTES))], 1)
        judged = visible & (asked != OPEN)
        found = np.where(right, context, hero)
        present = (found > 0) == (context > 0)
        present[:, _BACKGROUND] = right[:, _BACKGROUND]
        out.shown[rows], out.judged[rows] = found, judged
        out.right[rows], out.present[rows] = judged & right, judged & present

    def _explain(
        self,
        hero: npt.NDArray[np.int64],
        asked: npt.NDArray[np.int64],
        shown: npt.NDArray[np.uint8],
        mottled: bool,
        may_change: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Change ``hero`` [n, 11] into what the pictures show, where it may; [n, 11] whether what was asked for is as
        near."""
        right = np.zeros(hero.shape, bool)
        left = np.arange(len(hero))  # those that the last change brought nearer
        for _ in range(CHANGES):
            now, meant = hero[left], np.where(asked[left] == OPEN, hero[left], asked[left])
            batch = _Batch(self.codebook, shown[left], now, meant, mottled, self.shortlist)
            gain, best = np.zeros(now.shape, np.int64), now.copy()
            for attribute in np.flatnonzero(may_change[left].any(0)).tolist():
                number, distance, visible = batch.compare(attribute)
                nearest = distance.argmin(1)[:, None]
                least = np.take_along_axis(distance, nearest, 1)[:, 0]
                best[:, attribute] = np.take_along_axis(number, nearest, 1)[:, 0]
                gain[:, attribute] = (distance[:, 1] - least) * may_change[left, attribute]
                right[left, attribute] = (distance[:, 2] == least) & (visible | (meant[:, attribute] == 0))
            change, every = gain.argmax(1), np.arange(len(left))
            nearer = gain[every, change] > 0
            hero[left[nearer], change[nearer]] = best[every, change][nearer]
            left = left[nearer]
            if not len(left):
                break
        return right


def _numbers(wanted: Wanted) -> list[int]:
    """The candidate that a caption asks for, per attribute."""
    nothing = 0 if wanted.full else OPEN
    found = [candidates(s).index(wanted.parts[s]) if s in wanted.parts else nothing for s in SLOTS]
    return [*found, OPEN if wanted.background is None else candidates("background").index(wanted.background)]
