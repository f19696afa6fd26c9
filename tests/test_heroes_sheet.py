"""The contact sheet: pictures where they belong, each beside its round trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sjd2.heroes import codes
from sjd2.heroes.hero import picture
from sjd2.heroes.sheet import GAP, heroes, main, tile
from sjd2.heroes.stream import example


def test_tiles_lie_in_rows_between_gaps() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (3, 2, 3, 3), np.uint8)
    sheet = tile(shown, 2, scale=2, gap=1)
    assert sheet.shape == (11, 15, 3)
    assert np.array_equal(sheet[1:5:2, 8:14:2], shown[1])
    assert np.array_equal(sheet[6:10, 1:7], shown[2].repeat(2, 0).repeat(2, 1))
    sheet[1:5, 1:7] = sheet[1:5, 8:14] = sheet[6:10, 1:7] = GAP
    assert (sheet == np.array(GAP, np.uint8)).all()


def test_the_first_half_is_flat_the_others_mottled() -> None:
    chosen = [example(2, index, mottled=mottled, held_out=True) for index, mottled in enumerate((False, False, True))]
    assert np.array_equal(heroes(2, 3), [picture(each.hero, each.seed) for each in chosen])


def test_the_sheet_shows_pictures_and_round_trips(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    main(["--seed", "3", "--count", "2", "--palette", "--out", str(out)])
    sheet = np.asarray(Image.open(out))
    shown = heroes(3, 2)
    back = codes.palette().decode(codes.palette().encode(shown))
    assert np.array_equal(sheet[4:132:4, 4:132:4], shown[0])
    assert np.array_equal(sheet[4:132:4, 132:260:4], back[0])
    assert np.array_equal(sheet[4:132:4, 264:392:4], shown[1])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
