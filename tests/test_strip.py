"""Strips, pixel by pixel: where the pictures are, where text is, and that neither touches the other."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from PIL import Image
from sjd2 import png, strip
from sjd2.strip import GAP, INK, MARGIN, NIGHT_INK, NIGHT_PAPER, PALE, PAPER, Panel, draw_strip, wrap


def flat(width: int, height: int, colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def box(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels of one colour, which must fill that box."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(-1))
    found = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    assert len(rows) == (found[2] - found[0]) * (found[3] - found[1])
    return found


def written(sheet: Image.Image) -> np.ndarray:
    """[height, width], where text is: grey that is not paper."""
    pixels = np.asarray(sheet).astype(int)
    return (np.ptp(pixels, -1) <= PALE[2] - PALE[0]) & (pixels.sum(-1) < sum(PAPER))


def test_pictures_stand_in_a_row_enlarged_by_whole_numbers() -> None:
    sheet = draw_strip([Panel(flat(32, 32, RED)), Panel(flat(32, 24, GREEN)), Panel(flat(500, 300, BLUE))], side=330)
    assert box(sheet, RED) == (MARGIN, MARGIN, MARGIN + 320, MARGIN + 320)
    assert box(sheet, GREEN) == (MARGIN + 500 + GAP, MARGIN, MARGIN + 500 + GAP + 320, MARGIN + 240)
    assert box(sheet, BLUE)[2:] == (MARGIN + 2 * (500 + GAP) + 500, MARGIN + 300)  # never made smaller
    assert sheet.size == (2 * MARGIN + 3 * 500 + 2 * GAP, 2 * MARGIN + 320)
    assert not written(sheet).any()


def test_every_pixel_of_a_picture_is_drawn_and_nothing_over_it() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    sheet = np.asarray(draw_strip([Panel(Image.fromarray(noise), ("jumpy glyphs", "fg"))], "quickly jumping", side=64))
    large = np.kron(noise, np.ones((4, 4, 1), dtype=np.uint8))
    tops = [top for top in range(len(sheet) - 64) if np.array_equal(sheet[top : top + 64, MARGIN : MARGIN + 64], large)]
    assert len(tops) == 1


def test_labels_stand_under_their_picture_and_the_first_line_is_darker() -> None:
    panels = [Panel(flat(32, 32, RED), ("heroes-lumina, ar", "277 steps, 3.72 s")), Panel(flat(32, 32, GREEN))]
    sheet = draw_strip(panels, side=320)
    ink = written(sheet)
    left, _, right, bottom = box(sheet, RED)
    rows, columns = np.nonzero(ink)
    assert rows.min() >= bottom
    assert columns.min() >= left
    assert columns.max() < right
    assert rows.max() < sheet.height - MARGIN // 2
    filled = np.flatnonzero(ink.any(1))
    (cut,) = np.flatnonzero(np.diff(filled) > 1)  # one empty band: two lines
    darkest = [int(np.asarray(sheet)[part].min()) for part in (filled[: cut + 1], filled[cut + 1 :])]
    assert darkest == [INK[0], PALE[0]]


def test_a_label_wider_than_its_picture_widens_the_cell() -> None:
    panels = [Panel(flat(8, 8, RED), ("a label of many words",)), Panel(flat(8, 8, GREEN), ("x",))]
    sheet = draw_strip(panels, side=16)
    ink = written(sheet)
    start = box(sheet, GREEN)[0]
    assert start > MARGIN + 16 + GAP
    assert ink[:, start:].any()
    assert not ink[:, start - GAP : start - 2].any()  # the two labels are apart


def test_the_title_is_wrapped_at_the_width_of_the_pictures() -> None:
    title = "a bearded dwarf in a blue robe with a golden crown, on a green background"
    plain, one, three = (
        draw_strip([Panel(flat(32, 32, RED))] * n, text, side=320) for n, text in ((1, ""), (4, title), (1, title))
    )
    assert box(plain, RED)[1] == MARGIN
    assert box(three, RED)[1] > np.nonzero((np.asarray(one) == RED).all(-1))[0].min() > MARGIN
    ink = written(three)
    bands = np.flatnonzero(np.diff(np.flatnonzero(ink[: box(three, RED)[1]].any(1))) > 1)
    assert len(bands) >= 2  # three lines at least
    assert not ink[:, three.width - MARGIN :].any()


def test_wrapping_keeps_every_word() -> None:
    class Letters:
        """Each letter is one pixel wide."""

        def getlength(self, text: str) -> float:
            return len(text)

    text = "a bb ccc extraordinarily d e"
    lines = wrap(text, Letters(), 6)  # type: ignore[arg-type]
    assert lines == ["a bb", "ccc", "extraordinarily", "d e"]
    assert wrap("", Letters(), 6) == []  # type: ignore[arg-type]


def test_rows_of_columns() -> None:
    colours = [RED, GREEN, BLUE]
    sheet = draw_strip([Panel(flat(4, 4, colour), ("abc",)) for colour in colours], side=80, columns=2)
    red, green, blue = (box(sheet, colour) for colour in colours)
    assert red[1] == green[1]
    assert red[0] == blue[0]
    assert blue[1] > red[3]
    assert written(sheet)[red[3] : blue[1]].any()  # the labels of the first row
    assert written(sheet)[blue[3] :].any()


def test_the_examples_are_right() -> None:
    for module in (png, strip):
        assert doctest.testmod(module).failed == 0


def test_palettes_and_grey_pictures() -> None:
    for mode in ("L", "P", "RGBA"):
        assert box(draw_strip([Panel(flat(8, 8, RED).convert(mode))], side=16), RED if mode != "L" else (76, 76, 76))


def test_no_pictures_are_an_error() -> None:
    with pytest.raises(ValueError, match="strip: panels must hold at least one picture, got none"):
        draw_strip([], "title")


def test_by_night_the_paper_is_dark_and_the_text_light() -> None:
    pixels = np.asarray(draw_strip([Panel(flat(32, 32, RED), ("a", "b"))], "title", night=True))
    assert tuple(pixels[0, 0]) == NIGHT_PAPER
    grey = pixels[np.ptp(pixels.astype(int), -1) < 20]
    assert grey.min() >= min(NIGHT_PAPER)
    assert tuple(grey[grey.sum(-1).argmax()]) == NIGHT_INK
