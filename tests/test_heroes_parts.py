"""The parts: all there, all named, names distinct, pictures distinct but for two known twins."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
from sjd2.heroes.parts import PROBABILITIES, SIZE, SLOTS, TWINS, names, phrases, pictures

COUNTS = {
    "cloak": 11,
    "base": 43,
    "legs": 31,
    "body": 97,
    "boots": 17,
    "gloves": 20,
    "hand1": 127,
    "hand2": 23,
    "head": 79,
    "hair": 15,
}


def test_every_slot_has_its_parts() -> None:
    assert Counter(slot for slot, _ in pictures()) == COUNTS
    assert set(SLOTS) == set(PROBABILITIES) == set(COUNTS)


def test_pictures_are_small_and_fully_opaque_or_transparent() -> None:
    for rgba in pictures().values():
        assert rgba.shape == (SIZE, SIZE, 4)
        assert rgba.dtype == np.uint8
        assert set(np.unique(rgba[..., 3])) == {0, 255}


def test_every_part_has_a_phrase_and_no_phrase_names_two() -> None:
    assert set(phrases()) == set(pictures())
    said = Counter(phrase for several in phrases().values() for phrase in several)
    assert [phrase for phrase, times in said.items() if times > 1] == []
    assert all(phrase == phrase.lower().strip() and phrase.replace(" ", "").isalpha() for phrase in said)
    assert max(len(first.split()) for first, *_ in phrases().values()) <= 5


def test_only_the_twins_look_like_another_part() -> None:
    alike: dict[bytes, list[tuple[str, str]]] = {}
    for (slot, name), rgba in pictures().items():
        alike.setdefault(slot.encode() + np.where(rgba[..., 3:] > 0, rgba, 0).tobytes(), []).append((slot, name))
    assert all(len(set(several) - TWINS) == 1 for several in alike.values())
    assert len(alike) == len(pictures()) - len(TWINS)


def test_twins_are_not_generated() -> None:
    assert not TWINS & {(slot, name) for slot in SLOTS for name in names(slot)}
    assert sum(len(names(slot)) for slot in SLOTS) == 461


def test_importing_the_data_set_is_light() -> None:
    program = "import sys, sjd2.heroes.codes, sjd2.heroes.stream; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
