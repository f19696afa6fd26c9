"""A folder of pictures that one run draws, in one go or in many: what is there, what is missing, and its manifest.

    run.json        settings and prompts of the run; written first. Whoever goes on with other ones is refused.
    <id>.png        the pictures, each there whole or not at all. They are the only record of what is done.
    manifest.jsonl  a line per picture that is there, in the prompts' order; made from the pictures' text chunks.

All of it is a function of settings and prompts: processes that share a run need to know nothing of each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .atomic import replacing
from .prompts import Picture


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Args:
        path: it is made where it is missing.
        settings: all that decides what a picture looks like, besides its own prompt, seed and size; JSON values.
        pictures: of the whole run, whoever draws them.
    """

    path: Path
    settings: Mapping[str, Any]
    pictures: Sequence[Picture]
    _records: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def run(self) -> str:
        """Sixteen hexadecimal digits that stand for settings and prompts; every picture holds them."""
        return hashlib.sha256(json.dumps(self._held(), sort_keys=True).encode()).hexdigest()[:16]

    def file(self, picture: Picture) -> Path:
        """Where a picture is, or will be."""
        return self.path / f"{picture.id}.png"

    @property
    def begun(self) -> bool:
        """Whether there is a run in the folder."""
        return (self.path / "run.json").exists()

    def compare(self) -> None:
        """Refuse a folder that is not this run's.

        Raises: ValueError that says what differs from the run in it, or names what else lies there.
        """
        path = self.path / "run.json"
        if not self.begun:
            foreign = next((file for file in map(self.file, self.pictures) if file.exists()), None)
            if foreign is not None:
                raise ValueError(f"{foreign} is there, but no run.json; take another folder, or move it away")
            return
        changed = differences(json.loads(path.read_text(encoding="utf-8")), self._held())
        if changed:
            raise ValueError(
                f"{path} is of a run with other settings: {'; '.join(changed)}. "
                "Repeat that run's options to go on with it, or take another folder"
            )

    def claim(self) -> None:
        """Begin the run, or go on with it. To be called when all prompts are known to be good.

        Raises: as `compare`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.compare()
        if not self.begun:
            with replacing(self.path / "run.json") as scratch:
                scratch.write_text(json.dumps(self._held(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def record(self, picture: Picture) -> dict[str, Any] | None:
        """The line of a picture in the manifest, or None where it is not there.

        Raises: ValueError where a file of its name is not of this run.
        """
        if picture.id not in self._records:
            path = self.file(picture)
            if not path.exists():
                return None
            self.add(self._read(picture, path))
        return self._records[picture.id]

    def add(self, record: dict[str, Any]) -> None:
        """Take over a record that another process read."""
        self._records[record["id"]] = record

    def write_manifest(self) -> list[dict[str, Any]]:
        """Write `manifest.jsonl`, and remove what processes that were killed left of the pictures that are there.

        Returns: a record per picture that is there.
        """
        written: list[dict[str, Any]] | None = None
        while written != (found := [r for r in map(self.record, self.pictures) if r is not None]):
            # until nothing came in the meantime: of processes that end together, the last to write leaves no one out
            with replacing(self.path / "manifest.jsonl") as scratch:
                lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in found]
                scratch.write_text("".join(lines), encoding="utf-8")
            written = found
        there = {record["id"] for record in found}
        for path in self.path.glob(".*.png"):
            match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", path.stem)
            if match and match[1] in there:
                path.unlink(missing_ok=True)
        return found

    def _held(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return json.loads(json.dumps({"settings": self.settings, "pictures": [_named(p) for p in self.pictures]}))

    def _read(self, picture: Picture, path: Path) -> dict[str, Any]:
        from PIL import Image

        with Image.open(path) as opened:  # reads the chunks before the pixels only
            text, (width, height) = opened.info, opened.size
        if text.get("run") != self.run:
            raise ValueError(f"{path} is not of this run; take another folder, or move it away")
        scale = int(text["scale"])
        return {
            "id": picture.id, "file": path.name, "prompt": picture.prompt, "seed": picture.seed,
            "size": f"{width // scale}x{height // scale}", "steps": int(text["steps"]), "tokens": int(text["tokens"]),
            "status": text.get("status", "ok"),
        }  # fmt: skip


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two contents of `run.json`, in words; of prompts, the first one."""
    old, new = there["settings"], now["settings"]
    found = [
        f"{name} {json.dumps(old.get(name))} there, {json.dumps(new.get(name))} now"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if found or there["pictures"] == now["pictures"]:
        return found
    if len(there["pictures"]) != len(now["pictures"]):
        found = [f"{len(there['pictures'])} pictures there, {len(now['pictures'])} now"]
    for number, (before, after) in enumerate(zip(there["pictures"], now["pictures"], strict=False), 1):
        if before != after:
            return [*found, f"picture {number} is {json.dumps(before)} there, {json.dumps(after)} now"]
    return found


def _named(picture: Picture) -> dict[str, Any]:
    """A picture without its line: blank lines may come and go."""
    return {name: value for name, value in asdict(picture).items() if name != "line" and value is not None}
