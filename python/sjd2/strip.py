"""Pictures beside each other with labels drawn in: what the demo and reports show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .png import enlarge

PAPER, INK, PALE = (255, 255, 255), (24, 24, 27), (96, 96, 104)
NIGHT_PAPER, NIGHT_INK, NIGHT_PALE = (30, 32, 36), (232, 233, 236), (164, 167, 174)
MARGIN, GAP = 24, 20  # pixels around everything, and between pictures
TITLE, LABEL = 26, 21  # font heights in pixels
LINE = 1.35  # line height over font height


@dataclass(frozen=True)
class Panel:
    """One picture of a strip.

    Attributes:
        picture: any Pillow picture.
        lines: text under it; the first line stands out.
    """

    picture: Image.Image
    lines: tuple[str, ...] = ()


def draw_strip(
    panels: Sequence[Panel], title: str = "", *, side: int = 320, columns: int | None = None, night: bool = False
) -> Image.Image:
    """Draw pictures in rows, small ones enlarged by nearest neighbour, under a title.

    Args:
        panels: at least one; they may differ in size.
        title: wrapped at the width of the pictures.
        side: pixels that the longer side of a picture is enlarged to, or just below: whole multiples only.
        columns: pictures per row; None puts all into one row.
        night: light text on dark paper.

    Returns: an RGB picture. Deterministic for one version of Pillow and FreeType.

    Raises: ValueError without panels.

    Example:
        >>> draw_strip([Panel(Image.new("RGB", (32, 32)), ("ar", "256 steps"))] * 2, "a dwarf").size
        (708, 490)
    """
    if not panels:
        raise ValueError("strip: panels must hold at least one picture, got none")
    columns = min(columns or len(panels), len(panels))
    pictures = [enlarge(p.picture.convert("RGB"), max(1, side // max(p.picture.size))) for p in panels]
    small, large = _font(LABEL), _font(TITLE)
    texts = [small.getlength(line) for p in panels for line in p.lines]
    cell = max([picture.width for picture in pictures] + [int(width) + 1 for width in texts])
    label = _height(max(len(p.lines) for p in panels), LABEL)
    width = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    heading = wrap(title, large, width - 2 * MARGIN)
    rows = [range(first, min(first + columns, len(panels))) for first in range(0, len(panels), columns)]
    tall = [max(pictures[i].height for i in row) for row in rows]
    top = MARGIN + _height(len(heading), TITLE) + (GAP // 2 if heading else 0)
    height = top + sum(tall) + len(rows) * label + (len(rows) - 1) * GAP + MARGIN

    paper, ink, pale = (NIGHT_PAPER, NIGHT_INK, NIGHT_PALE) if night else (PAPER, INK, PALE)
    sheet = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(sheet)
    _write(draw, heading, (MARGIN, MARGIN), large, (ink,))
    for row, high in zip(rows, tall, strict=True):
        for column, i in enumerate(row):
            left = MARGIN + column * (cell + GAP)
            sheet.paste(pictures[i], (left, top))
            _write(draw, panels[i].lines, (left, top + high + GAP // 2), small, (ink, pale))
        top += high + label + GAP
    return sheet


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines of at most ``width`` pixels, broken between words; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _font(height: int) -> ImageFont.FreeTypeFont:
    """The typeface inside Pillow, so that a strip looks the same on every machine."""
    font = ImageFont.load_default(height)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _height(lines: int, font: int) -> int:
    """Pixels of some lines of text and the space over them."""
    return round(lines * font * LINE) + GAP // 2 if lines else 0


def _write(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    corner: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    colours: Sequence[tuple[int, int, int]],
) -> None:
    """Lines of text from a corner down; the last colour serves all lines that have none of their own."""
    for n, line in enumerate(lines):
        place = (corner[0], corner[1] + round(n * font.size * LINE))
        draw.text(place, line, font=font, fill=colours[min(n, len(colours) - 1)])
