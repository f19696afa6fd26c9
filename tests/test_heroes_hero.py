"""Pictures of heroes: the order of composition, backgrounds, what may be asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sjd2.heroes.hero import SHADE, Hero, compose, picture
from sjd2.heroes.parts import BACKGROUNDS, SLOTS, pictures
from sjd2.heroes.stream import example

DWARF = Hero("green", False, {"base": "dwarf_m", "body": "robe_blue"})


def literal(hero: Hero) -> np.ndarray:
    """A flat hero painted pixel by pixel."""
    canvas = np.empty((32, 32, 3), np.uint8)
    canvas[:] = BACKGROUNDS[hero.background]
    for slot in SLOTS:
        if slot in hero.parts:
            for y, x in np.ndindex(32, 32):
                *colour, alpha = pictures()[slot, hero.parts[slot]][y, x]
                if alpha:
                    canvas[y, x] = colour
    return canvas


@pytest.mark.parametrize("index", range(5))
def test_flat_pictures_are_the_parts_painted_in_order(index: int) -> None:
    hero = example(0, index, mottled=False).hero
    assert np.array_equal(picture(hero, 5), literal(hero))


def test_a_mottled_background_has_three_shades_behind_the_same_hero() -> None:
    flat, mottled = DWARF, Hero("green", True, DWARF.parts)
    behind = np.ones((32, 32), bool)
    for slot, name in DWARF.parts.items():
        behind &= pictures()[slot, name][..., 3] == 0
    one = picture(mottled, 1)
    assert np.array_equal(one[~behind], picture(flat)[~behind])
    off = one[behind].astype(int) - np.array(BACKGROUNDS["green"])
    assert {tuple(row) for row in off} == {(-SHADE,) * 3, (0, 0, 0), (SHADE,) * 3}
    assert np.array_equal(one, picture(mottled, 1))
    assert not np.array_equal(one, picture(mottled, 2))


def test_each_shade_covers_a_third() -> None:
    bare = Hero("gray", True, {"base": "ghoul2_f"})
    corner = compose([bare] * 500, range(500))[:, :6, :6, 0].astype(int) - BACKGROUNDS["gray"][0]
    shares = [float((corner == shade).mean()) for shade in (-SHADE, 0, SHADE)]
    assert np.allclose(shares, 1 / 3, atol=0.03), shares


def test_shades_stay_within_bytes() -> None:
    for background in ("black", "white"):
        shown = picture(Hero(background, True, {"base": "elf_m"}), 3)
        corner = shown[:2].reshape(-1, 3).astype(int) - np.array(BACKGROUNDS[background])
        assert np.abs(corner).max() <= SHADE


def test_several_at_once_are_the_single_pictures() -> None:
    chosen = [example(3, index) for index in range(20)]
    together = compose([each.hero for each in chosen], [each.seed for each in chosen])
    for shown, each in zip(together, chosen, strict=True):
        assert np.array_equal(shown, picture(each.hero, each.seed))


def test_a_known_picture_stays_the_same() -> None:
    """Trained models depend on the pixels: a change here needs new models."""
    shown = picture(Hero("blue", True, {"base": "elf_f", "hair": "fem_red", "hand1": "spear"}), 12345)
    assert int((shown.astype(np.int64).ravel() * np.arange(1, shown.size + 1)).sum()) == KNOWN


KNOWN = 444624344


def test_equal_heroes_have_equal_hashes_whatever_the_order_of_their_parts() -> None:
    turned = Hero("green", False, dict(reversed(DWARF.parts.items())))
    assert turned == DWARF
    assert hash(turned) == hash(DWARF)
    assert pickle.loads(pickle.dumps(DWARF)) == DWARF


@pytest.mark.parametrize(
    ("background", "parts", "complaint"),
    [
        ("pink", {"base": "elf_f"}, "background must be one of black"),
        ("red", {"base": "elf"}, "no part 'elf' in slot 'base'"),
        ("red", {"nose": "red"}, "no part 'red' in slot 'nose'"),
        ("red", {"body": "robe_blue"}, "must name a base"),
        ("red", {"base": "elf_f", "hair": "fem_red", "head": "cap_blue"}, "hair is not seen under a head piece"),
    ],
)
def test_impossible_heroes_are_refused(background: str, parts: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Hero(background, False, parts)


def test_heroes_and_seeds_must_match() -> None:
    with pytest.raises(ValueError, match="1 heroes need as many seeds, got 2"):
        compose([DWARF], [1, 2])
