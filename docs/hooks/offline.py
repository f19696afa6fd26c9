"""MkDocs hook: the build fails if a page would load anything from elsewhere; links that a reader follows may go out."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|object|embed)\b[^>]*?\b(?:src|srcset|data)=[\"']?(?:https?:)?//"
)
_STYLE = re.compile(r"<link\b(?![^>]*\brel=[\"']?canonical)[^>]*?\bhref=[\"']?(?:https?:)?//")


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """The page as it is.

    Raises:
        PluginError: names what it would load.
    """
    found = loads(output)
    if found:
        raise PluginError(f"{page.file.src_uri} is not whole without the network: {found}")
    return output


def loads(html: str) -> str | None:
    """The first tag that would be fetched from another host, or None."""
    found = _LOADED.search(html) or _STYLE.search(html)
    return found[0] if found else None
