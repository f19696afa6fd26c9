"""Cards on disk and ids from a vocabulary map."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sjd2.backbones import Defaults, Emu3Card, LuminaCard
from sjd2.backbones.card import EMU3_NAMES, LUMINA_NAMES, image_ids, load_card, named, save_card
from sjd2.backbones.tiny import emu3_card, lumina_card


@pytest.mark.parametrize(
    "card",
    [
        lumina_card(),
        emu3_card(),
        LuminaCard(),
        replace(Emu3Card(), defaults=Defaults({"denoise_steps": 4, "spacing": "linear"}, {"sjd": {"window": 8}})),
    ],
)
def test_a_card_comes_back_from_disk_as_it_was(tmp_path: Path, card: LuminaCard | Emu3Card) -> None:
    save_card(card, tmp_path)
    assert load_card(tmp_path) == card


def test_only_differences_are_written(tmp_path: Path) -> None:
    save_card(replace(LuminaCard(), size=(512, 512)), tmp_path)
    assert json.loads((tmp_path / "sjd2.json").read_text()) == {"family": "lumina-mgpt", "card": {"size": [512, 512]}}


def test_no_card_is_no_error_and_a_wrong_one_is(tmp_path: Path) -> None:
    assert load_card(tmp_path) is None
    (tmp_path / "sjd2.json").write_text(json.dumps({"family": "other", "card": {}}))
    with pytest.raises(ValueError, match="family must be one of lumina-mgpt, emu3, got 'other'"):
        load_card(tmp_path)
    (tmp_path / "sjd2.json").write_text(json.dumps({"family": "emu3", "card": {"eol": 1, "eoll": 2}}))
    with pytest.raises(ValueError, match="unknown fields eoll"):
        load_card(tmp_path)


def test_special_ids_are_found_by_name() -> None:
    lumina = named(LuminaCard(), {"<eoss>": 5, "<reserved08799>": 6, "cat": 7}, LUMINA_NAMES)
    assert (lumina.eoi, lumina.eol, lumina.boi) == (5, 6, 8197)
    emu3 = named(Emu3Card(), {"<|extra_200|>": 1, "<|visual token 000000|>": 9, "<|image start|>": 3}, EMU3_NAMES)
    assert (emu3.eol, emu3.first_image_id, emu3.boi, emu3.eof) == (1, 9, 3, 151_847)
    assert named(Emu3Card(), None, EMU3_NAMES) == Emu3Card()


def names(codes: list[int]) -> dict[str, int]:
    return {
        f"IMGIMG{str(code).translate(str.maketrans('0123456789', 'ABCDEFGHIJ'))}Z": 4 + i
        for i, code in enumerate(codes)
    }


def test_image_codes_come_from_the_names_not_from_the_order() -> None:
    assert image_ids(names(list(range(8192))), 8192) == list(range(4, 8196))
    assert image_ids(names([2, 0, 1, 3]), 4) == [5, 6, 4, 7]
    assert image_ids({"cat": 1}, 4) is None
    assert image_ids(None, 4) is None


@pytest.mark.parametrize("codes", [[0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4]])
def test_a_map_that_does_not_cover_the_codes_is_refused(codes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must name every image code 0..3 once"):
        image_ids(names(codes), 4)


def test_two_codes_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="must name every image code"):
        image_ids(names([0, 1, 2]) | {"IMGIMGDZ": 4}, 4)
