"""A checkpoint's grammar on disk: `sjd2.json` beside its config.json, and what can be read off a vocabulary.

    {"family": "lumina-mgpt" | "emu3", "card": {fields of LuminaCard or Emu3Card that differ from the published model},
     "data_set": "heroes" for the embedded models, whose captions and picture codes are those of `sjd2.heroes`}

Published checkpoints have no such file: their special ids are looked up by name in the vocabulary map of config.json,
where it has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..atomic import replacing
from .base import Defaults
from .emu3 import Emu3Card
from .lumina_mgpt import LuminaCard

FILE = "sjd2.json"
FAMILIES: dict[str, type[LuminaCard | Emu3Card]] = {"lumina-mgpt": LuminaCard, "emu3": Emu3Card}
_Card = TypeVar("_Card", LuminaCard, Emu3Card)

# card field -> token name in the checkpoint's vocabulary map
LUMINA_NAMES = {
    "bos": "<s>",
    "separator": "<reserved08706>",
    "boi": "<racm3:break>",
    "eoi": "<eoss>",
    "eol": "<reserved08799>",
    "size_base": "<reserved08800>",
}
EMU3_NAMES = {
    "first_image_id": "<|visual token 000000|>",
    "bos": "<|extra_203|>",
    "eos": "<|extra_204|>",
    "eol": "<|extra_200|>",
    "eof": "<|extra_201|>",
    "img": "<|image token|>",
    "boi": "<|image start|>",
    "eoi": "<|image end|>",
}


def save_card(card: LuminaCard | Emu3Card, folder: Path, data_set: str | None = None) -> None:
    """Write `sjd2.json` with the fields that differ from the published model's, and the name of the data set."""
    family = next(name for name, kind in FAMILIES.items() if isinstance(card, kind))
    mine, published = asdict(card), asdict(type(card)())
    changed = {name: value for name, value in mine.items() if value != published[name]}
    held = {"family": family, "card": changed} | ({"data_set": data_set} if data_set else {})
    with replacing(folder / FILE) as scratch:
        scratch.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")


def data_set_of(folder: Path) -> str | None:
    """The data set that `sjd2.json` names, or None."""
    path = folder / FILE
    name: str | None = json.loads(path.read_text(encoding="utf-8")).get("data_set") if path.is_file() else None
    return name


def load_card(folder: Path) -> LuminaCard | Emu3Card | None:
    """The card in `sjd2.json`, or None if there is no such file.

    Raises: ValueError for an unknown family or field.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    held = json.loads(path.read_text(encoding="utf-8"))
    kind = FAMILIES.get(held.get("family"))
    if kind is None:
        raise ValueError(f"load: {path}: family must be one of {', '.join(FAMILIES)}, got {held.get('family')!r}")
    values = dict(held.get("card", {}))
    unknown = sorted(set(values) - {f.name for f in fields(kind)})
    if unknown:
        raise ValueError(f"load: {path}: unknown fields {', '.join(unknown)}")
    if "size" in values:
        values["size"] = tuple(values["size"])
    if "defaults" in values:
        values["defaults"] = Defaults(**values["defaults"])
    return kind(**values)


def named(card: _Card, vocabulary: Mapping[str, int] | None, names: Mapping[str, str]) -> _Card:
    """``card`` with the ids of all special tokens that the vocabulary map knows by name."""
    known = vocabulary or {}
    found: dict[str, Any] = {field: known[name] for field, name in names.items() if name in known}
    return replace(card, **found)


def image_ids(vocabulary: Mapping[str, int] | None, V: int) -> list[int] | None:
    """The model id of every code, from Chameleon's ``IMGIMG<letters>Z`` names (letters A-J are the digits 0-9).

    Args:
        vocabulary: name -> id; None, or a map without such names, gives None.
        V: number of codes.

    Raises: ValueError unless the names cover codes 0..V-1 exactly once.

    Example:
        >>> image_ids({"IMGIMGBZ": 5, "IMGIMGAZ": 4}, 2)
        [4, 5]
    """
    prefix = "IMGIMG"
    named_ids = {name: value for name, value in (vocabulary or {}).items() if name.startswith(prefix)}
    if not named_ids:
        return None
    digits = str.maketrans("ABCDEFGHIJ", "0123456789")
    codes = {int(name[len(prefix) : -1].translate(digits)): value for name, value in named_ids.items()}
    if sorted(codes) != list(range(V)) or len(set(codes.values())) != V or len(named_ids) != V:
        raise ValueError(
            f"load: the vocabulary map must name every image code 0..{V - 1} once (IMGIMG...Z), "
            f"got {len(named_ids)} names for {len(codes)} codes"
        )
    return [codes[code] for code in range(V)]
