"""A file of prompts -> the pictures of a run: what each is called, drawn from and seeded with.

Plain text holds a prompt a line; blank lines are left out. A file named *.jsonl holds JSON objects, one a line:

    {"prompt": "a dwarf", "seed": 7, "id": "dwarf", "size": "768x512"}

Only the prompt is needed. Seeds and names follow from a picture's place in the file and from the run's seed, never from
how the work is split.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELDS = ("prompt", "seed", "id", "size")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
SEEDS = range(-(2**63), 2**63)
SHOWN = 10  # bad lines that an error lists


@dataclass(frozen=True)
class Picture:
    """One picture to draw.

    Attributes:
        line: of the file, from 1; for errors.
        id: its file is ``id``.png.
        prompt, seed: what it is drawn from.
        size: (width, height) in pixels; None is the run's.
    """

    line: int
    id: str
    prompt: str
    seed: int
    size: tuple[int, int] | None = None


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as "768x512".

    Raises: ValueError for anything else.

    Example:
        >>> parse_size("768x512")
        (768, 512)
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not match:
        raise ValueError(f"size must be WIDTHxHEIGHT in pixels, such as 768x512, got {text!r}")
    return int(match[1]), int(match[2])


def read_prompts(path: Path, *, seed: int = 0, count: int = 1) -> list[Picture]:
    """The pictures of a file.

    Args:
        path: *.jsonl, or plain text.
        seed: of the first picture; the next ones have seed + 1, ... A line's own seed stands for its first picture.
        count: pictures of each prompt. Above 1, names end in -1, -2, ...

    Returns: pictures in the file's order. Those without an id are called by the number of their prompt.

    Raises: ValueError that lists the bad lines by number, FileNotFoundError.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "p.txt"
        ...     _ = file.write_text("a dwarf\\nan elf\\n")
        ...     [(p.id, p.prompt, p.seed) for p in read_prompts(file, seed=5)]
        [('000001', 'a dwarf', 5), ('000002', 'an elf', 6)]
    """
    parse = _from_json if path.suffix == ".jsonl" else _from_text
    found: list[Picture] = []
    bad: list[tuple[int, str]] = []
    named: dict[str, int] = {}
    number = 0
    for line, raw in _lines(path):
        number += 1  # of bad ones too: repairing a line must not move the seeds of the others
        try:
            fields = parse(_text(raw))
            _check(fields)
        except ValueError as error:
            bad.append((line, str(error)))
            continue
        name, size = fields.get("id", f"{number:06d}"), fields.get("size")
        first = fields.get("seed", seed + (number - 1) * count)
        for copy in range(count):
            own = name if count == 1 else f"{name}-{copy + 1}"
            before = named.setdefault(own.lower(), line)  # some file systems do not tell upper from lower case
            if before != line:
                bad.append((line, f"id {own!r} is that of line {before}"))
                break
            if first + copy not in SEEDS:
                bad.append((line, f"seed must be a number of 64 bits, got {first + copy}"))
                break
            found.append(Picture(line, own, fields["prompt"], first + copy, parse_size(size) if size else None))
    refuse(path, bad)
    if not found:
        raise ValueError(f"{path}: there are no prompts in it")
    return found


def refuse(path: Path, bad: list[tuple[int, str]]) -> None:
    """Say what is wrong with which line, if anything is.

    Args:
        path: the file.
        bad: line and complaint.

    Raises: ValueError that lists them.
    """
    if bad:
        shown = "; ".join(f"line {line}: {text}" for line, text in sorted(bad)[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ValueError(f"{path}: {shown}{more}")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of the lines with something on them."""
    with open(path, "rb") as held:
        for line, raw in enumerate(held, 1):
            content = (raw.removeprefix(BOM_UTF8) if line == 1 else raw).strip()
            if content:
                yield line, content


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start + 1})") from error


def _from_text(text: str) -> dict[str, Any]:
    return {"prompt": text}


def _from_json(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(fields, dict):
        raise ValueError('must be an object such as {"prompt": "a dwarf"}')
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise ValueError(f"unknown field {', '.join(map(repr, unknown))}; known are {', '.join(FIELDS)}")
    return {name: value for name, value in fields.items() if value is not None}


def _check(fields: dict[str, Any]) -> None:
    """Refuse values of a wrong kind."""
    prompt, seed, name, size = (fields.get(field) for field in FIELDS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("prompt must be a text")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise ValueError("prompt must be Unicode text, it holds half a surrogate pair")
    if seed is not None and type(seed) is not int:
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError(f"id must be a file's name in letters, digits and _.- (100 at most), got {name!r}")
    if size is not None:
        parse_size(size if isinstance(size, str) else repr(size))
