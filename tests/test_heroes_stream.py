"""The stream of examples: by its counter only, in the right shares, and never across the held-out line."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sjd2.heroes import codes
from sjd2.heroes.captions import ATTRIBUTES, caption, parse
from sjd2.heroes.hero import Hero, compose
from sjd2.heroes.parts import BACKGROUNDS, PROBABILITIES, SLOTS, names
from sjd2.heroes.stream import batch, example, is_held_out

COUNT = 6000


@pytest.fixture(scope="module")
def drawn() -> list:
    return [example(11, index) for index in range(COUNT)]


def near(seen: float, p: float, n: float, sigmas: float = 5) -> bool:
    return abs(seen - p) <= sigmas * np.sqrt(p * (1 - p) / n)


def test_an_example_depends_on_its_counter_only(drawn: list) -> None:
    assert [example(11, index) for index in (5, 3, 4)] == [drawn[5], drawn[3], drawn[4]]
    assert example(12, 3) != drawn[3]
    assert len({each.hero for each in drawn}) > 0.99 * COUNT
    assert example(2**64 - 1, 2**64 - 1).hero


def test_a_known_example_stays_the_same() -> None:
    """Trained models depend on which heroes were held out: a change here needs new models."""
    texts = " ".join(example(0, index, full=True).caption for index in range(100))
    assert hashlib.blake2b(texts.encode(), digest_size=4).hexdigest() == "1da9fa35"


def test_settings_do_not_change_the_hero(drawn: list) -> None:
    for index in range(50):
        one = drawn[index]
        assert example(11, index, full=True) == (one.hero, caption(one.hero), one.seed)
        other = example(11, index, mottled=not one.hero.mottled, full=True).hero
        assert other.parts == one.hero.parts
        assert other.mottled != one.hero.mottled


def test_parts_and_backgrounds_come_in_their_shares(drawn: list) -> None:
    for slot in SLOTS:
        p = PROBABILITIES[slot] * ((1 - PROBABILITIES["head"]) if slot == "hair" else 1)
        assert near(sum(slot in each.hero.parts for each in drawn) / COUNT, p, COUNT), slot
    for slot in ("base", "cloak", "hair"):
        chosen = [each.hero.parts[slot] for each in drawn if slot in each.hero.parts]
        assert set(chosen) == set(names(slot))
        assert all(near(chosen.count(name) / len(chosen), 1 / len(names(slot)), len(chosen)) for name in names(slot))
    for colour in BACKGROUNDS:
        assert near(sum(each.hero.background == colour for each in drawn) / COUNT, 1 / 8, COUNT)
    assert near(sum(each.hero.mottled for each in drawn) / COUNT, 0.5, COUNT)


def test_captions_come_in_their_shares(drawn: list) -> None:
    said = [each for each in drawn if each.caption]
    assert near(1 - len(said) / COUNT, 0.1, COUNT)
    assert near(sum(each.caption.startswith("the ") for each in said) / len(said), 0.5, len(said))
    assert all(each.caption == caption(each.hero) for each in said if each.caption.startswith("the "))
    short = [each for each in said if not each.caption.startswith("the ")]
    for attribute in ATTRIBUTES:
        shown = [each for each in short if attribute == "background" or attribute in each.hero.parts]
        left_out = [
            parse(each.caption).background is None if attribute == "background" else True
            for each in shown
            if attribute == "background" or attribute not in parse(each.caption).parts
        ]
        assert near(sum(left_out) / len(shown), 0.3, len(shown)), attribute


def test_training_never_sees_a_held_out_combination(drawn: list) -> None:
    held = [example(11, index, held_out=True) for index in range(300)]
    assert not any(is_held_out(each.hero) for each in drawn)
    assert all(is_held_out(each.hero) and each.caption for each in held)
    sides: dict[tuple[str | None, ...], set[bool]] = {}
    for each in drawn + held:
        combination = tuple(each.hero.parts.get(slot) for slot in ("base", "body", "head", "hair", "hand1"))
        sides.setdefault(combination, set()).add(is_held_out(each.hero))
    assert all(len(side) == 1 for side in sides.values())


def test_the_held_out_side_depends_on_four_slots_and_no_other(drawn: list) -> None:
    changes = dict.fromkeys(SLOTS, 0)
    for each in drawn[:400]:
        for slot in SLOTS:
            if slot in each.hero.parts:
                parts = dict(each.hero.parts) | {slot: names(slot)[0]}
                changes[slot] += is_held_out(Hero("red", True, parts))
    assert {slot for slot, count in changes.items() if count} == {"base", "body", "head", "hair", "hand1"}


def test_one_combination_of_sixteen_is_held_out() -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(4000):
        parts = {slot: str(rng.choice(names(slot))) for slot in ("base", "body", "head", "hand1")}
        kept += is_held_out(Hero("red", False, parts))
    assert near(kept / 4000, 1 / 16, 4000)


def test_a_batch_is_its_examples() -> None:
    captions, tokens = batch(4, 10, 8, codes.patches(), mottled=True)
    chosen = [example(4, index, mottled=True) for index in range(10, 18)]
    assert captions == [each.caption for each in chosen]
    shown = compose([each.hero for each in chosen], [each.seed for each in chosen])
    assert np.array_equal(tokens, codes.patches().encode(shown))
    assert tokens.shape == (8, 16, 16)
    assert tokens.dtype == np.int64
    assert batch(4, 10, 2, codes.palette())[1].shape == (2, 32, 32)
