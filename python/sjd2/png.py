"""Pictures as PNG files: enlarged, with what made them written in, there whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .atomic import replacing

LEAST_SIDE = 512  # pixels that the longer side of a small picture is enlarged to


def enlarge(picture: Image.Image, scale: int) -> Image.Image:
    """``picture`` with every pixel as a square of ``scale`` x ``scale``.

    Example:
        >>> enlarge(Image.new("RGB", (3, 2)), 4).size
        (12, 8)
    """
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def scale_to(size: tuple[int, int], least: int) -> int:
    """The smallest scale that makes the longer side of (width, height) at least ``least`` pixels.

    Example:
        >>> scale_to((32, 32), 512), scale_to((768, 512), 512)
        (16, 1)
    """
    return max(1, -(-least // max(size)))


def fit(picture: Image.Image, side: int) -> Image.Image:
    """``picture`` enlarged by a whole number, or made smaller, so that the longer side is at most ``side``.

    Example:
        >>> fit(Image.new("RGB", (32, 16)), 100).size, fit(Image.new("RGB", (400, 200)), 100).size
        ((96, 48), (100, 50))
    """
    longer = max(picture.size)
    if longer <= side:
        return enlarge(picture, side // longer)
    small = (max(1, picture.width * side // longer), max(1, picture.height * side // longer))
    return picture.resize(small, Image.Resampling.LANCZOS)


def check_png(path: Path) -> None:
    """Refuse a name that `save_png` would refuse, before any work is done.

    Raises: ValueError for a name that does not end in .png, or that is a folder.
    """
    if path.suffix.lower() != ".png" or path.is_dir():
        raise ValueError(f"out must be the name of a .png file, got {path}")


def save_png(picture: Image.Image, path: Path, text: Mapping[str, object] | None = None) -> None:
    """Write a PNG file; a reader, or an interruption, sees the old file or the new one.

    Args:
        picture: any Pillow picture.
        path: its folder is made where it is missing.
        text: PNG text chunks, keyword -> value.

    Raises: OSError where the file cannot be written; nothing is left behind.
    """
    chunks = PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_text(keyword, str(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        picture.save(scratch, format="png", pnginfo=chunks)


def made_from(settings: Mapping[str, object]) -> dict[str, object]:
    """Text chunks for what a picture was made from: the package, and the settings that were given (not None)."""
    from sjd2_kernels import __version__

    given = {name: value for name, value in settings.items() if value is not None}
    return {"Software": f"sjd2-kernels {__version__}", **given}


def save_enlarged(picture: Image.Image, path: Path, scale: int | None, text: Mapping[str, object]) -> None:
    """Write a drawn picture, with its scale among the text chunks.

    Args:
        picture: one pixel per pixel of the model.
        path, text: as in `save_png`.
        scale: None enlarges small pictures to `LEAST_SIDE` pixels, others not.
    """
    used = scale or scale_to(picture.size, LEAST_SIDE)
    save_png(enlarge(picture, used), path, {**text, "scale": used})
