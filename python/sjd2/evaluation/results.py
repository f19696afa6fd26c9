"""The file of results: JSON that grows by one record at a time, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import replacing

FORMAT = "sjd2 eval 1"
GROUPS = ("truth", "timing", "reference", "pictures", "cells")


class Results:
    """The file: ``options`` that all records share, and records by group and name.

    Args:
        path: read if it is there.
        options: what must be the same in every record.

    Raises: ValueError if the file holds records of other options.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path = path
        self.held = read(path) if path.is_file() else _groups({})
        for name, value in options.items():
            if self.held["options"].get(name, value) != value:
                raise ValueError(
                    f"eval: {path} was made with {name} = {self.held['options'][name]}, not {value}; "
                    "give the same options, or another --out"
                )
        self.held["options"] |= options

    def add(self, group: str, name: str, record: Mapping[str, Any]) -> None:
        """Put a record under ``held[group][name]`` and write the file; a reader sees the old one or the new one."""
        self.held[group][name] = dict(record)
        self.write()

    def write(self) -> None:
        """Write the file, a record a line."""
        lines = [f'"format": {json.dumps(FORMAT)}', f'"options": {json.dumps(self.held["options"])}']
        lines += [f'"summary": {json.dumps(self.held["summary"])}'] if "summary" in self.held else []
        for key in GROUPS:
            records = ",\n".join(f"{json.dumps(at)}: {json.dumps(each)}" for at, each in self.held[key].items())
            lines.append(f'"{key}": {{\n{records}\n}}')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as scratch:
            scratch.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A file of results; groups that it lacks (an older file) are empty.

    Raises: FileNotFoundError, ValueError for a file of something else.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"eval: {path} is no JSON file ({error})") from error
    if not isinstance(held, dict) or not {"options", "cells"} <= held.keys():
        raise ValueError(f"eval: {path} holds no results of sjd2 eval")
    return _groups(held)


def _groups(held: dict[str, Any]) -> dict[str, Any]:
    return {"options": {}, **{group: {} for group in GROUPS}, **held}


def digest(folder: Path) -> str:
    """The first letters of the checksum of a checkpoint's weights."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as held:
            while part := held.read(1 << 24):
                whole.update(part)
    return whole.hexdigest()[:12]
