"""Sentences about heroes: written from a hero, and read in the words a person uses.

    the bearded dwarf in a blue robe with a golden crown, holding a spear and a round shield, on a green background

"the" says all: what is not named is not there. "a" leaves open what it does not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache

from .hero import Hero
from .parts import BACKGROUNDS, SLOTS, phrases

ATTRIBUTES = (*SLOTS, "background")  # what a short caption can leave out

_CLAUSES = (
    ("in", ("body", "legs", "cloak")),
    ("with", ("head", "hair", "boots", "gloves")),
    ("wearing", ("boots", "gloves")),
    ("holding", ("hand1", "hand2")),
)
_BODY_WORDS = {"hooves", "claws"}  # boots and gloves by slot, but nobody wears them
_MASS_WORDS = {"armour", "mail", "hair", "nunchaku"}  # no article, like a plural
_SPELLINGS = {
    "grey": "gray",
    "gold": "golden",
    "armor": "armour",
    "blond": "yellow",
    "blonde": "yellow",
    "chequered": "checkered",
    "backdrop": "background",
}
_NOBODY = "hero"
_ANYBODY = {_NOBODY, "character", "person", "figure", "somebody", "someone"}
_FILLERS = frozenset(
    re.findall(
        r"\S+",
        """
        a an the , and also of who is has having his her their its in on with at to over by against before front
        wearing wears dressed holding holds carrying carries armed background
        """,
    )
)
_SAID = {
    "base": "bodies",
    "hand1": "weapons",
    "hand2": "shields",
    "head": "things on the head",
    "hair": "kinds of hair",
    "body": "things on the body",
    "legs": "things on the legs",
    "cloak": "cloaks",
    "boots": "things on the feet",
    "gloves": "things on the hands",
    "background": "backgrounds",
}
DEFAULT_BASE, DEFAULT_BACKGROUND = "human_m", "green"


@dataclass(frozen=True)
class Wanted:
    """What a sentence asks for.

    Attributes:
        parts: name of the part by slot, of the slots that were named.
        background: its colour, None where none was named.
        mottled: None where no background was named.
        full: whether slots that were not named are to stay empty (True), or are left open.
        notes: what was chosen for want of a word, in words for the user.
    """

    parts: Mapping[str, str]
    background: str | None
    mottled: bool | None
    full: bool
    notes: tuple[str, ...] = field(default=(), compare=False)

    def hero(self) -> Hero:
        """The hero that a full sentence describes.

        Raises:
            ValueError: the sentence leaves something open.
        """
        if not self.full or self.background is None or self.mottled is None:
            raise ValueError("captions: a sentence that begins with 'a' leaves parts open; only 'the ...' is one hero")
        return Hero(self.background, self.mottled, self.parts)


def _with_article(phrase: str) -> str:
    last = phrase.split()[-1]
    if last in _MASS_WORDS or (last.endswith("s") and not last.endswith("ss")):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _listed(things: list[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"


def _in_clause(preposition: str, slot: str, phrase: str) -> bool:
    if slot not in ("boots", "gloves"):
        return True
    return (preposition == "with") == (phrase.split()[-1] in _BODY_WORDS)


def sentence(wanted: Wanted) -> str:
    """The one sentence that says what ``wanted`` asks for, in the words of the training captions."""
    said = {slot: phrases()[slot, name][0] for slot, name in wanted.parts.items()}
    subject = said.get("base", _NOBODY)
    text = f"the {subject}" if wanted.full else f"{'an' if subject[0] in 'aeiou' else 'a'} {subject}"
    first, joined = True, False  # no clause yet; the last one is short enough to go on without a comma
    for preposition, slots in _CLAUSES:
        things = [_with_article(said[s]) for s in slots if s in said and _in_clause(preposition, s, said[s])]
        if not things:
            continue
        text += " " if first or (joined and preposition == "with") else ", "
        text += f"{preposition} {_listed(things)}"
        first, joined = False, preposition == "in" and len(things) == 1
    if wanted.background is not None:
        mottled = "mottled " if wanted.mottled else ""
        text += f"{' ' if first else ', '}on {_with_article(f'{mottled}{wanted.background} background')}"
    return text


def caption(hero: Hero, dropped: Set[str] | None = None) -> str:
    """The caption of a hero.

    Args:
        hero: what to describe.
        dropped: attributes (slots or "background") to leave out of a caption that begins with "a" and leaves open
            what it does not name; None: the full caption, which begins with "the".

    Returns:
        One sentence without a full stop.

    Example:
        >>> hero = Hero("green", False, {"base": "dwarf_m", "body": "robe_blue", "head": "crown_gold1"})
        >>> caption(hero)
        'the bearded dwarf in a blue robe with a golden crown, on a green background'
        >>> caption(hero, {"body"})
        'a bearded dwarf with a golden crown, on a green background'
    """
    if dropped is None:
        return sentence(Wanted(hero.parts, hero.background, hero.mottled, True))
    if unknown := dropped - set(ATTRIBUTES):
        raise ValueError(f"captions: dropped must hold names among {', '.join(ATTRIBUTES)}, got {sorted(unknown)}")
    kept = {slot: name for slot, name in hero.parts.items() if slot not in dropped}
    if "background" in dropped:
        return sentence(Wanted(kept, None, None, False))
    return sentence(Wanted(kept, hero.background, hero.mottled, False))


def words(text: str) -> list[str]:
    """The words of a text and its commas, in lower case, as a tokenizer for captions should see them."""
    return re.findall(r"[a-z]+|,", text.lower())


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word (and the comma) that `sentence` can use, sorted."""
    said = {"a", "an", "the", "and", "on", "mottled", "background", ",", _NOBODY, *BACKGROUNDS}
    said |= {preposition for preposition, _ in _CLAUSES}
    return tuple(sorted(said.union(*(first.split() for first, *_ in phrases().values()))))


def _spelled(text: str) -> list[str]:
    return [_SPELLINGS.get(word, word) for word in words(text)]


@cache
def _meanings() -> Mapping[tuple[str, ...], tuple[str, str]]:
    """What every known phrase, as a tuple of words, stands for: (attribute, value); of a background "mottled green"."""
    known: dict[tuple[str, ...], tuple[str, str]] = {}
    for (slot, name), said in phrases().items():
        for phrase in said:
            known[tuple(_spelled(phrase))] = (slot, name)
    for spelled, meaning in list(known.items()):
        known.setdefault(tuple(word for word in spelled if word != "and"), meaning)
        if meaning[0] == "base" and spelled[-1] == "woman" and len(spelled) > 1:
            known.setdefault(("female", *spelled[:-1]), meaning)
        elif meaning[0] == "base" and meaning[1].endswith("_m") and spelled[-1] != "man":
            known.setdefault(("male", *spelled), meaning)
            known.setdefault((*spelled, "man"), meaning)
    for colour in BACKGROUNDS:
        for before, after in (("", ""), ("flat ", ""), ("mottled ", ""), ("", "mottled "), ("", "flat ")):
            kind = "mottled" if "mottled" in before + after else "flat"
            known[tuple(f"{before}{colour} {after}background".split())] = ("background", f"{kind} {colour}")
    known["mottled", "background"] = ("background", f"mottled {DEFAULT_BACKGROUND}")
    known["flat", "background"] = ("background", f"flat {DEFAULT_BACKGROUND}")
    return known


def _suggestions(spelled: list[str], at: int) -> list[str]:
    """Known phrases that resemble the unknown word at ``at``, alone or with its neighbours; the best first."""
    windows = [" ".join(spelled[max(begin, 0) : end]) for begin, end in ((at, at + 1), (at, at + 2), (at - 1, at + 1))]
    windows.append(" ".join(spelled[at : at + 3]))
    scores: dict[str, float] = {}
    for known in _meanings():
        phrase = " ".join(known)
        matcher = SequenceMatcher(b=phrase)
        for window in windows:
            matcher.set_seq1(window)
            if matcher.real_quick_ratio() > 0.6 and matcher.quick_ratio() > 0.6:
                scores[phrase] = max(scores.get(phrase, 0.0), matcher.ratio())
    good = sorted((phrase for phrase, score in scores.items() if score > 0.6), key=lambda p: (-scores[p], p))
    return good[:3]


def _read(spelled: list[str]) -> list[tuple[str, str, str]]:
    """The phrases of a text, longest first from the left: (attribute, value, phrase)."""
    known, longest = _meanings(), max(map(len, _meanings()))
    found, unknown, at = [], [], 0
    while at < len(spelled):
        for length in range(min(longest, len(spelled) - at), 0, -1):
            phrase = tuple(spelled[at : at + length])
            if phrase in known:
                found.append((*known[phrase], " ".join(phrase)))
                at += length
                break
        else:
            if spelled[at] not in _FILLERS | _ANYBODY:
                unknown.append(at)
            at += 1
    if unknown:
        complaints = []
        for place in unknown:
            close = " or ".join(f'"{phrase}"' for phrase in _suggestions(spelled, place))
            complaints.append(f'"{spelled[place]}"' + (f" (did you mean {close}?)" if close else ""))
        raise ValueError(f"captions: unknown words: {'; '.join(complaints)}")
    return found


def parse(text: str) -> Wanted:
    """What a sentence asks for, whatever the order of its phrases.

    Args:
        text: begins with "the" where it says all; else what it does not name is left open.

    Returns:
        The parts and the background that it names. A full sentence without a race means a human man, without a
        background a flat green one; ``notes`` then says so.

    Raises:
        ValueError: words that are not known, each with phrases that resemble it; two parts for one slot.

    Example:
        >>> parse("an elf with a golden crown and a spear, in a red robe").parts["hand1"]
        'spear'
    """
    spelled = _spelled(text)
    full = spelled[:1] == ["the"]
    parts: dict[str, str] = {}
    phrase_of: dict[str, str] = {}
    for attribute, value, phrase in _read(spelled):
        if parts.setdefault(attribute, value) != value:
            raise ValueError(
                f'captions: two {_SAID[attribute]}: "{phrase_of[attribute]}" and "{phrase}"; name one of them'
            )
        phrase_of[attribute] = phrase
    if "head" in parts and "hair" in parts:
        raise ValueError(
            f'captions: hair is not seen under a head piece: name "{phrase_of["hair"]}" or "{phrase_of["head"]}"'
        )
    notes = []
    if full and "base" not in parts:
        parts["base"] = DEFAULT_BASE
        notes.append("nobody was named: a human")
    if full and "background" not in parts:
        notes.append(f"no background was named: a flat {DEFAULT_BACKGROUND} one")
    elif phrase_of.get("background") in ("mottled background", "flat background"):
        notes.append(f"no colour of the background was named: {DEFAULT_BACKGROUND}")
    kind, background = parts.get("background", f"flat {DEFAULT_BACKGROUND}" if full else " ").split(" ")
    ordered = {slot: parts[slot] for slot in SLOTS if slot in parts}
    return Wanted(ordered, background or None, kind == "mottled" if kind else None, full, tuple(notes))


def canonical(text: str) -> str:
    """The sentence that a model was trained on and that means the same as ``text``.

    Example:
        >>> canonical("on a green background: a dwarf, gold crown, blue robe")
        'a bearded dwarf in a blue robe with a golden crown, on a green background'
    """
    return sentence(parse(text))
