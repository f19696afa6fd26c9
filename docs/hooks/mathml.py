"""MkDocs hook: formulas become MathML while the site is built, so that no script or font has to be loaded for them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

# what pymdownx.arithmatex leaves of $...$ and $$...$$
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_DISPLAY = {"span": "inline", "div": "block"}


def on_page_content(html: str, **_: Any) -> str:
    """The page with its formulas as MathML."""
    return _FORMULA.sub(lambda found: mathml(unescape(found[2]).strip(), _DISPLAY[found[1]]), html)


def mathml(formula: str, display: str = "inline") -> str:
    """MathML of a LaTeX formula.

    Raises:
        ValueError: for a command that the converter does not know; it would be shown as it is written.
    """
    result = convert(formula, display=display).replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")  # \sim
    unknown = re.search(r"\\\w+", unescape(result))
    if unknown:
        raise ValueError(f"formula {formula!r}: {unknown[0]} is not known to latex2mathml")
    return result
