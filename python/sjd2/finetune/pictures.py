"""A folder of pictures with captions, as (file, caption) pairs and as pixels.

Captions stand in ``metadata.jsonl``, ``metadata.csv`` or ``captions.csv`` (columns file_name, and text or caption), or
in a .txt file beside each picture.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TABLES = ("metadata.jsonl", "metadata.csv", "captions.csv")


class Picture(NamedTuple):
    """A file and what is said about it; "" where nothing is."""

    path: Path
    caption: str


def find_pictures(folder: Path) -> list[Picture]:
    """All pictures of a folder, by name; subfolders are searched too.

    Raises: ValueError if there are none, if one has no caption or if a listed file does not exist.

    Example: see docs/finetune.md.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"finetune: there is no folder {folder}")
    listed = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if listed is not None:
        found = sorted(Picture(folder / name, caption.strip()) for name, caption in _listed(listed))
        missing = [str(picture.path) for picture in found if not picture.path.is_file()]
        complaint = f"{listed.name} lists files that do not exist"
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        missing = [str(path) for path in paths if not path.with_suffix(".txt").is_file()]
        complaint = "pictures without a .txt file of the same name (an empty one says: no caption)"
        texts = [path.with_suffix(".txt") for path in paths]
        found = [] if missing else [Picture(p, t.read_text("utf-8").strip()) for p, t in zip(paths, texts, strict=True)]
    if missing:
        raise ValueError(f"finetune: {folder}: {complaint}: {', '.join(missing[:3])} ({len(missing)} in all)")
    if not found:
        raise ValueError(
            f"finetune: {folder} holds neither pictures ({', '.join(SUFFIXES)}) with captions nor parquet files"
        )
    return found


def pixels(path: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture, scaled so that it covers ``size`` = (width, height), and cut to it around its centre.

    Returns: [height, width, 3].

    Raises: ValueError that names the file if it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            if turned.mode in ("RGBA", "LA", "P", "PA"):  # what is transparent becomes white
                turned = turned.convert("RGBA")
                turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
            return np.asarray(ImageOps.fit(turned.convert("RGB"), size, Image.Resampling.LANCZOS))
    except OSError as error:
        raise ValueError(f"finetune: {path} cannot be read as a picture, repair or remove it: {error}") from error


def _listed(table: Path) -> Iterator[tuple[str, str]]:
    """(file name, caption) of every line of a table."""
    with table.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file) if table.suffix == ".csv" else (json.loads(line) for line in file if line.strip())
        for number, line in enumerate(lines, 1):
            caption = line.get("text", line.get("caption"))
            if "file_name" not in line or caption is None:
                raise ValueError(f"finetune: {table}, entry {number}: must have file_name, and text or caption")
            yield line["file_name"], caption
