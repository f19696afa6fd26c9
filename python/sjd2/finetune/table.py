"""The log of a run: a CSV file of rows with a step, and the picture of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ..atomic import replacing


class Table:
    """A CSV file; rows after the step that a run resumes from are dropped.

    Args:
        path: of the file. step: resumed from. write: whether this process writes.
    """

    def __init__(self, path: Path, step: int, write: bool = True):
        self.path, self.write = path, write
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, in place of an earlier one of the same step; the file is replaced as a whole."""
        self.rows = [held for held in self.rows if int(held["step"]) != row["step"]]
        self.rows.append({k: v if isinstance(v, int | str) else f"{v:.7g}" for k, v in row.items()})
        if not self.write:
            return
        names = list(dict.fromkeys(name for held in self.rows for name in held))
        with replacing(self.path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def columns(self) -> dict[str, tuple[list[int], list[float]]]:
        """Name -> (steps, values), where a row has a value."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for row in self.rows:
            for name, value in row.items():
                if name != "step" and value not in ("", None):
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(int(row["step"]))
                    values.append(float(value))
        return found
