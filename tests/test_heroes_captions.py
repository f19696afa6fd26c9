"""Captions: every hero is said in one way and read back from it, and from what people write."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sjd2.heroes.captions import ATTRIBUTES, canonical, caption, parse, vocabulary, words
from sjd2.heroes.hero import Hero
from sjd2.heroes.parts import BACKGROUNDS, SLOTS, phrases

ALL = {slot: sorted(name for where, name in phrases() if where == slot) for slot in SLOTS}


@st.composite
def heroes(draw: st.DrawFn) -> Hero:
    parts = {"base": draw(st.sampled_from(ALL["base"]))}
    for slot in SLOTS:
        if slot != "base" and not (slot == "hair" and "head" in parts) and draw(st.booleans()):
            parts[slot] = draw(st.sampled_from(ALL[slot]))
    return Hero(draw(st.sampled_from(sorted(BACKGROUNDS))), draw(st.booleans()), parts)


@given(heroes())
def test_a_full_caption_is_read_back_as_its_hero(hero: Hero) -> None:
    text = caption(hero)
    wanted = parse(text)
    assert wanted.hero() == hero
    assert wanted.notes == ()
    assert canonical(text) == text


@given(heroes(), st.sets(st.sampled_from(ATTRIBUTES)))
def test_a_short_caption_is_read_back_as_what_it_names(hero: Hero, dropped: set[str]) -> None:
    text = caption(hero, dropped)
    wanted = parse(text)
    assert not wanted.full
    assert wanted.parts == {slot: name for slot, name in hero.parts.items() if slot not in dropped}
    shown = (None, None) if "background" in dropped else (hero.background, hero.mottled)
    assert (wanted.background, wanted.mottled) == shown
    assert canonical(text) == text


@pytest.mark.parametrize(("slot", "name"), sorted(phrases()))
def test_every_phrase_of_every_part_is_understood(slot: str, name: str) -> None:
    for phrase in phrases()[slot, name]:
        for text in (phrase, f"somebody with a {phrase.upper()}", phrase.replace(" and ", " ").replace("gray", "grey")):
            assert parse(text).parts == {slot: name}


@given(heroes(), st.randoms(use_true_random=False))
def test_word_order_does_not_matter(hero: Hero, shuffle: random.Random) -> None:
    said = [phrases()[slot, name][-1] for slot, name in hero.parts.items()]
    said.append(f"{'mottled ' if hero.mottled else ''}{hero.background} background")
    shuffle.shuffle(said)
    assert canonical("the " + ", a ".join(said)) == caption(hero)


@given(heroes(), st.sets(st.sampled_from(ATTRIBUTES)))
def test_captions_use_the_vocabulary_and_articles_agree(hero: Hero, dropped: set[str]) -> None:
    between = "(?:in|with|wearing|holding|and|on) "
    for text in (caption(hero), caption(hero, dropped)):
        assert set(words(text)) <= set(vocabulary())
        assert re.search(r"\ba [aeiou]|\ban [^aeiou]", text) is None
        assert re.search(rf"\ban? (?:(?!{between})\w+ )*(?:boots|gloves|trousers|armour|hair)\b", text) is None
        assert "  " not in text
        assert text.startswith(("the ", "a ", "an "))


def test_the_vocabulary_is_small_sorted_and_all_used() -> None:
    assert list(vocabulary()) == sorted(set(vocabulary()))
    assert len(vocabulary()) < 256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a human in a red robe with a golden crown and a spear, on a green background",
            "a human in a red robe with a golden crown, holding a brown spear, on a green background",
        ),
        ("An elf woman.", "an elf woman"),
        ("a female dwarf with a chequered buckler", "a dwarf woman holding a checkered buckler"),
        ("a male dwarf in gold armor", "a bearded dwarf in golden armour"),
        ("a man, a whip; a black robe!", "a human in a black robe, holding a brown whip"),
        ("long blond hair", "a hero with a yellow braid"),
        ("", "a hero"),
        ("the dwarf", "the bearded dwarf on a green background"),
        ("the red robe on a mottled grey background", "the human in a red robe, on a mottled gray background"),
        ("black hooves, claws, an ant", "an ant with black hooves and gray claws"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert canonical(text) == expected


def test_what_was_chosen_is_noted() -> None:
    assert parse("the red robe").notes == (
        "nobody was named: a human",
        "no background was named: a flat green one",
    )
    assert parse("a dwarf on a mottled background").notes == ("no colour of the background was named: green",)
    assert parse("a red robe").notes == ()


def test_unknown_words_are_named_with_phrases_that_resemble_them() -> None:
    with pytest.raises(ValueError, match="unknown words") as caught:
        parse("a wizrad in a goldne crown, spaer in hand, on a bleu background")
    complaint = str(caught.value)
    assert all(f'"{word}"' in complaint for word in ("wizrad", "goldne", "spaer", "bleu", "hand"))
    assert all(f'"{phrase}"' in complaint for phrase in ("golden crown", "spear", "blue background"))
    assert '"crown"' not in complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a dwarf in a red robe and a blue robe", 'two things on the body: "red robe" and "blue robe"'),
        ("an elf and a dwarf", 'two bodies: "elf" and "dwarf"'),
        ("a red background, a blue background", 'two backgrounds: "red background" and "blue background"'),
        ("a crown and brown hair", 'hair is not seen under a head piece: name "brown hair" or "crown"'),
    ],
)
def test_contradictions_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(text)


def test_a_short_sentence_is_no_single_hero() -> None:
    with pytest.raises(ValueError, match=re.escape("only 'the ...' is one hero")):
        parse("a dwarf on a red background").hero()


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dropped must hold .* got \['nose'\]"):
        caption(Hero("red", False, {"base": "elf_m"}), {"nose"})
