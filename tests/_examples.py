"""The code in the documents: fenced blocks of README.md and docs/, as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# pages whose blocks go on with the names of those before; elsewhere each one stands alone, to be copied
CONTINUED = {ROOT / "docs" / "new_backbone.md"}


@dataclass(frozen=True)
class Block:
    """A fenced block: the page, the line of its first line of code, its language ("" for shell), its text."""

    page: Path
    line: int
    language: str
    code: str

    def run(self, names: dict[str, Any]) -> None:
        """Execute a Python block; a traceback shows the line of the page."""
        exec(compile("\n" * (self.line - 1) + self.code, str(self.page), "exec"), names)


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        yield Block(page, text.count("\n", 0, found.start()) + 2, found[1], found[2])


def examples(page: Path) -> list[list[Block]]:
    """The Python blocks of a page that run one after another with the same names."""
    code = [block for block in blocks(page) if block.language == "python"]
    return [code] if page in CONTINUED and code else [[block] for block in code]
