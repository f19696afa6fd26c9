"""docs/troubleshooting.md quotes messages as the source has them; what an f-string or % fills in is `...` there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from _examples import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
SOURCES = (*(ROOT / "sjd2_kernels").rglob("*.py"), *(ROOT / "python" / "sjd2").rglob("*.py"), ROOT / "setup.py")


def pattern(node: ast.expr) -> str | None:
    """A string expression with `...` for every part that is only known when it runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[dsr]", "...", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join((isinstance(part, ast.Constant) and str(part.value)) or "..." for part in node.values)
    return None


def patterns(source: str) -> set[str]:
    return {text for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr) and (text := pattern(node))}


@cache
def known() -> list[str]:
    """The strings of both packages and of setup.py, and the Makefile."""
    found = {text for path in SOURCES for text in patterns(path.read_text(encoding="utf-8"))}
    return [*found, (ROOT / "Makefile").read_text(encoding="utf-8")]


def quoted(page: str) -> list[str]:
    """The code spans in the first column of the tables headed "message"."""
    tables = re.findall(r"^\| message \|.*?\n\|.*?\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()]
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def is_said(message: str, among: list[str]) -> bool:
    return any(message in text for text in among)


MESSAGES = quoted(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_in_the_source(message: str) -> None:
    assert is_said(message, known())


def test_the_page_is_read() -> None:
    assert len(MESSAGES) > 100
    assert "image ...: ...; its picture is not to be trusted" in MESSAGES
    rule = "|---|---|"
    lines = [
        "| message | what to do |",
        rule,
        "| `a: ...`, `b` | `c` |",
        "",
        "| message of x | y |",
        rule,
        "| `d` | e |",
        "",
    ]
    assert quoted("\n".join(lines)) == ["a: ...", "b"]


def test_a_changed_message_is_seen() -> None:
    said = patterns("""raise ValueError(f"load: {path} is missing; " "it comes from {here}" f" or {there!r}")""")
    assert "load: ... is missing; it comes from {here} or ..." in said
    assert patterns("""log("%s: %d")""") == {"...: ..."}
    assert is_said("load: ... is missing;", list(said))
    assert not is_said("load: x is missing;", list(said))
    assert not is_said("load: ... is gone;", list(said))
