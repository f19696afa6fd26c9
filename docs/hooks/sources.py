"""MkDocs hook: source files that a page links to (``../python/sjd2/decoder.py``) become part of the site.

So the same link works where the Markdown is read in the repository and where it is read as a site, and a link to a file
that is gone fails the strict build: MkDocs finds no such page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((\.\./[\w./-]+)((?:#[\w-]+)?)\)")
_LANGUAGES = {".py": "python", ".md": "markdown"}  # shown as a page; other files are copied


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to."""
    root = Path(config.docs_dir).parent
    linked = {name for page in files.documentation_pages() for name in outside(page.content_string, page.src_uri)}
    for name in sorted(linked):
        path = root / name
        if path.is_file() and path.suffix in _LANGUAGES:
            text = path.read_text(encoding="utf-8")
            page = f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n````{_LANGUAGES[path.suffix]}\n{text}````\n"
            files.append(File.generated(config, place(name), content=page))
        elif path.is_file():
            files.append(File.generated(config, place(name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page with its links to source files pointed at their copies."""
    here = page.file.src_uri

    def copied(name: str, anchor: str) -> str:
        return f"]({relpath(place(name), dirname(here) or '.')}{anchor})"

    return _replace(markdown, here, copied)


def outside(markdown: str, page: str) -> set[str]:
    """The files outside the documents that a page links to, as paths from the repository's root."""
    found: set[str] = set()
    _replace(markdown, page, lambda name, anchor: found.add(name) or "")
    return found


def place(name: str) -> str:
    """Where the site has the copy of a source file."""
    return f"source/{name}.md" if Path(name).suffix in _LANGUAGES else f"source/{name}"


def _replace(markdown: str, page: str, link: Callable[[str, str], str]) -> str:
    def one(found: re.Match[str]) -> str:
        target = normpath(join(dirname(page), found[1]))
        return link(target[3:], found[2]) if target.startswith("../") else found[0]

    return _LINK.sub(one, markdown)
