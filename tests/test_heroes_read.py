"""The reader of pictures: all right on true ones, and what is wrong is seen and named."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from sjd2.heroes.captions import ATTRIBUTES, Wanted, caption, parse
from sjd2.heroes.codes import palette, patches
from sjd2.heroes.hero import Hero, compose, picture
from sjd2.heroes.parts import BACKGROUNDS, SLOTS, names, pictures
from sjd2.heroes.read import OPEN, Reader, Reading, candidates
from sjd2.heroes.stream import example

DWARF = Hero("green", False, {"base": "dwarf_m", "body": "robe_blue", "head": "crown_gold1", "hand1": "spear"})


def tokens(shown: np.ndarray) -> np.ndarray:
    """The round trip through the patches, as a model draws."""
    return patches().decode(patches().encode(shown))


def drawn(hero: Hero, seed: int = 0) -> np.ndarray:
    return tokens(picture(hero, seed)[None])


def read(shown: np.ndarray, *wanted: Wanted) -> Reading:
    return Reader(patches()).read(shown, wanted)


def wrong(reading: Reading, row: int = 0) -> dict[str, str | None]:
    """What is shown instead, by attribute that is judged and not right."""
    columns = np.flatnonzero(reading.judged[row] & ~reading.right[row])
    return {ATTRIBUTES[at]: candidates(ATTRIBUTES[at])[reading.shown[row, at]] for at in columns}


def changed(hero: Hero, **parts: str | None) -> Hero:
    """The hero with other parts; None takes one off."""
    return dataclasses.replace(hero, parts={k: v for k, v in {**hero.parts, **parts}.items() if v})


def stream(n: int, mottled: bool, full: bool, start: int = 0) -> tuple[np.ndarray, list[Wanted]]:
    chosen = [example(3, start + i, mottled=mottled, full=full, held_out=True) for i in range(n)]
    return compose([e.hero for e in chosen], [e.seed for e in chosen]), [parse(e.caption) for e in chosen]


@pytest.mark.parametrize("mottled", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_true_pictures_are_right_in_every_judged_part(mottled: bool, full: bool) -> None:
    shown, wanted = stream(60, mottled, full)
    reading = read(tokens(shown), *wanted)
    assert not [wrong(reading, row) for row in range(60) if wrong(reading, row)]
    assert np.array_equal(reading.right, reading.judged)
    assert np.array_equal(reading.present, reading.judged)
    stated = reading.asked != OPEN
    assert reading.judged.sum() > 0.97 * stated.sum()  # few parts are hidden
    assert stated.all() == full


def test_pictures_that_were_never_tokens_and_palettes_are_read_too() -> None:
    shown, wanted = stream(12, True, True)
    assert not wrong(read(shown, *wanted))
    reading = Reader(palette()).read(palette().decode(palette().encode(shown)), wanted)
    assert np.array_equal(reading.right, reading.judged)


@pytest.mark.parametrize("mottled", [False, True])
def test_a_swapped_part_is_seen_and_named(mottled: bool) -> None:
    asked = dataclasses.replace(DWARF, mottled=mottled)
    for slot, name in (("body", "robe_red"), ("base", "elf_f"), ("hand1", "broad_axe"), ("head", "cap_blue")):
        assert wrong(read(drawn(changed(asked, **{slot: name}), 5), parse(caption(asked)))) == {slot: name}


@pytest.mark.parametrize("mottled", [False, True])
def test_any_swap_of_any_visible_part_is_seen(mottled: bool) -> None:
    """Every slot, parts by chance: the asked part is right only if the two pictures are one picture."""
    rng = np.random.default_rng(1)
    shown, asked = [], []
    for at in range(120):
        hero = example(4, at, mottled=mottled).hero
        slot = rng.choice(list(hero.parts))
        shown.append(changed(hero, **{slot: str(rng.choice([n for n in names(slot) if n != hero.parts[slot]]))}))
        asked.append(hero)
    made, meant = (tokens(compose(heroes, range(120))) for heroes in (shown, asked))
    reading = read(made, *(parse(caption(hero)) for hero in asked))
    swaps, blamed = 0, 0
    for row, (other, hero) in enumerate(zip(shown, asked, strict=True)):
        slot = next(s for s in hero.parts if hero.parts[s] != other.parts[s])
        at = ATTRIBUTES.index(slot)
        if reading.judged[row, at]:
            assert reading.right[row, at] == np.array_equal(made[row], meant[row]), (slot, hero, other)
            swaps += not reading.right[row, at]
            blamed += len(set(wrong(reading, row)) - {slot})
    assert swaps > 100
    assert blamed <= 2, blamed  # neighbours


@pytest.mark.parametrize("mottled", [False, True])
def test_a_missing_part_and_one_too_many_are_wrong_in_presence_too(mottled: bool) -> None:
    asked = dataclasses.replace(DWARF, mottled=mottled)
    missing = read(drawn(changed(asked, hand1=None), 3), parse(caption(asked)))
    assert wrong(missing) == {"hand1": None}
    extra = read(drawn(changed(asked, boots="middle_green"), 3), parse(caption(asked)))
    assert wrong(extra) == {"boots": "middle_green"}
    swapped = read(drawn(changed(asked, hand1="broad_axe"), 3), parse(caption(asked)))
    for reading, slot, present in ((missing, "hand1", False), (extra, "boots", False), (swapped, "hand1", True)):
        assert reading.present[0, ATTRIBUTES.index(slot)] == present
        assert reading.present[0].sum() == reading.judged[0].sum() - (not present)


@pytest.mark.parametrize("mottled", [False, True])
def test_a_wrong_background_is_seen_and_nothing_else(mottled: bool) -> None:
    asked = dataclasses.replace(DWARF, mottled=mottled)
    for colour in sorted(set(BACKGROUNDS) - {"green"}):
        shown = drawn(dataclasses.replace(asked, background=colour), 2)
        assert wrong(read(shown, parse(caption(asked)))) == {"background": colour}


def test_a_hidden_part_is_not_judged() -> None:
    """A part that no token depends on: nothing can be said."""
    slot, hidden = "legs", None
    for legs in names("legs"):
        for body in names("body"):
            bare = Hero("green", False, {"base": "human_m", "body": body})
            if np.array_equal(drawn(changed(bare, legs=legs)), drawn(bare)):
                hidden = changed(bare, legs=legs)
    assert hidden is not None
    bare = changed(hidden, legs=None)
    for asked, judged in ((hidden, False), (bare, True)):
        for shown in (hidden, bare):
            reading = read(drawn(shown), parse(caption(asked)))
            assert reading.judged[0, ATTRIBUTES.index(slot)] == judged
            assert not wrong(reading)


def test_pixel_identical_twins_are_both_right() -> None:
    asked = changed(DWARF, body="vines")
    assert not wrong(read(drawn(changed(DWARF, body="robe_green")), parse(caption(asked))))


def test_what_a_short_caption_leaves_open_may_be_anything() -> None:
    hero = changed(DWARF, boots="middle_green", cloak="red")
    open_parts = {"boots", "cloak", "body", "background", "hand2"}
    reading = read(drawn(hero), parse(caption(hero, open_parts)))
    assert not wrong(reading)
    assert {ATTRIBUTES[at] for at in np.flatnonzero(reading.judged[0])} == {
        "base",
        "head",
        "hand1",
        "legs",
        "gloves",
    } & {name for name in ATTRIBUTES if reading.asked[0, ATTRIBUTES.index(name)] != OPEN}
    for at, name in enumerate(ATTRIBUTES):  # what fills the open slots is what the picture shows
        if name in open_parts and name != "background":
            assert candidates(name)[reading.shown[0, at]] == hero.parts.get(name)
    other = read(drawn(changed(hero, hand1="broad_axe")), parse(caption(hero, open_parts)))
    assert wrong(other) == {"hand1": "broad_axe"}


def test_other_pictures_are_mostly_wrong() -> None:
    """The negative control: each picture judged by the caption of another."""
    shown, wanted = stream(24, True, True)
    reading = read(tokens(np.roll(shown, 1, 0)), *wanted)
    named = (reading.asked > 0) & reading.judged
    named[:, ATTRIBUTES.index("background")] = False
    assert reading.right[named].mean() < 0.1
    noise = np.random.default_rng(0).integers(0, 256, shown[:6].shape).astype(np.uint8)
    assert read(noise, *wanted[:6]).right[named[:6]].mean() < 0.3


@pytest.mark.parametrize("full", [False, True])
def test_the_shortlist_changes_no_verdict(full: bool) -> None:
    shown, wanted = stream(12, True, full)
    made = tokens(shown)
    made[4:] = tokens(np.where(np.random.default_rng(2).random(made[4:].shape[:3])[..., None] < 0.3, 128, made[4:]))
    made[8:] = np.roll(made[8:], 1, 0)
    quick, slow = Reader(patches()).read(made, wanted), Reader(patches(), None).read(made, wanted)
    assert np.array_equal(quick.right, slow.right)
    assert np.array_equal(quick.judged, slow.judged)
    assert np.array_equal(quick.present, slow.present)


def test_a_verdict_does_not_depend_on_the_batch() -> None:
    shown, wanted = stream(6, False, False)
    more, also = stream(6, True, False, 50)
    together = read(tokens(np.concatenate([shown, more])), *wanted, *also)
    for row, (one, asked) in enumerate(zip([*shown, *more], [*wanted, *also], strict=True)):
        alone = read(tokens(one[None]), asked)
        for field in ("asked", "shown", "judged", "right", "present"):
            assert np.array_equal(getattr(alone, field)[0], getattr(together, field)[row])


def test_candidates_are_all_parts() -> None:
    assert sum(len(candidates(slot)) - 1 for slot in SLOTS) == len(pictures())
    assert all(candidates(slot)[0] is None for slot in SLOTS)


def test_a_hundred_pictures_a_second() -> None:
    shown, wanted = stream(64, False, True)
    reader = Reader(patches())
    made = tokens(shown)
    reader.read(made, wanted)
    start = time.process_time()
    reader.read(made, wanted)
    assert time.process_time() - start < 0.64


def test_pictures_and_captions_must_match() -> None:
    with pytest.raises(ValueError, match="1 pictures need as many captions, got 2"):
        read(drawn(DWARF), *[parse(caption(DWARF))] * 2)
