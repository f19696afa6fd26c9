"""README and documents from the files of results: ``python -m bench.report``

A document marks where a table or a plot belongs, and from which file of bench/results it comes:

    <!-- bench:short from cpu/2026-11-22-f637929.json -->
    ... written here ...
    <!-- bench:end -->

Without options everything is written anew from the files that are named; --newest names the newest files first, but
those of heroes, of which each model has its own.
A block that waits for a measurement comes from cpu/none or gpu/none. A test checks that nothing was changed by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sjd2.atomic import replacing
from sjd2.evaluation.results import read
from sjd2.evaluation.summary import summarise

from . import e2e_table, heroes_table, plots, records, table

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- bench:(\w+) from (\S+) -->\n(.*?)<!-- bench:end -->", re.DOTALL)
PENDING = "Not measured yet."

TABLES: dict[str, Callable[[Any], str]] = {
    "short": table.short,
    "all": table.render,
    "losses": table.losses,
    "counts": table.counts,
    "decoder": table.decoder,
    "e2e": e2e_table.render,
}
PLOTS = {"plots": tuple(plots.AXES), "ratio": (plots.RATIO,)}
WORDS = (*TABLES, *PLOTS, *heroes_table.TABLES)
END_TO_END = ("e2e", "ratio")  # blocks whose files are of kind "e2e"


def documents() -> list[Path]:
    """Where blocks may stand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def render(word: str, source: str, document: Path, results: Path = records.RESULTS) -> str:
    """The text of a block.

    Raises: ValueError for an unknown word, FileNotFoundError for a missing file.
    """
    if word not in WORDS:
        raise ValueError(f"{document.name}: no block bench:{word}; there are {', '.join(WORDS)}")
    if source.endswith("/none"):
        return PENDING + "\n"
    if word in heroes_table.TABLES:
        return f"{heroes_table.TABLES[word](_evaluation(results / source))}\n"
    run = records.load(results / source)
    if word in TABLES:
        return f"{TABLES[word](run)}\n"
    found = []
    for axis in PLOTS[word]:
        if plots.panels(run, axis):
            link = os.path.relpath(plots.path_of(results / source, axis), document.parent)
            found.append(f"![{axis}: {source}]({link})")
    return "\n\n".join(found or ["No plot: too few points."]) + "\n"


@cache
def _evaluation(path: Path) -> dict[str, Any]:
    held = read(path)
    return held | {"summary": summarise(held)}


def newer(word: str, source: str, results: Path = records.RESULTS) -> str:
    """The newest file for a block on the same kind of device; the same where there is none."""
    if word in heroes_table.TABLES:
        return source
    kind, device = "e2e" if word in END_TO_END else "", source.partition("/")[0]
    folders = (
        [device] if device == "cpu" else [each.name for each in results.iterdir() if each.name.startswith("nvidia")]
    )
    found = [path for folder in folders if (path := records.newest(folder, kind, results))]
    if not found:
        return source
    return max(found, key=lambda path: records.load(path)["date"]).relative_to(results).as_posix()


def rewritten(document: Path, results: Path = records.RESULTS, newest: bool = False) -> str:
    """A document with all its blocks written anew."""

    def block(match: re.Match[str]) -> str:
        word, source = match[1], match[2]
        source = newer(word, source, results) if newest else source
        return f"<!-- bench:{word} from {source} -->\n{render(word, source, document, results)}<!-- bench:end -->"

    return BLOCK.sub(block, document.read_text(encoding="utf-8"))


def sources(text: str) -> Iterator[tuple[str, str]]:
    """Word and file of every block of a document."""
    for match in BLOCK.finditer(text):
        yield match[1], match[2]


def draw(text: str, results: Path = records.RESULTS) -> list[Path]:
    """Draw the plots that a document's blocks show; returns their paths."""
    drawn = []
    for word, source in sources(text):
        if word in PLOTS and not source.endswith("/none"):
            run = records.load(results / source)
            for axis in PLOTS[word]:
                shown = plots.panels(run, axis)
                if shown:
                    drawn.append(plots.path_of(results / source, axis))
                    plots.draw(shown, drawn[-1], table.head(run).split("; copy")[0])
    return drawn


def main(arguments: list[str] | None = None) -> int:
    """Write or check; with --check 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--newest", action="store_true", help="take the newest results of each kind of device")
    parser.add_argument("--check", action="store_true", help="change nothing, name what differs")
    asked = parser.parse_args(arguments)
    differ = []
    for document in documents():
        before, text = document.read_text(encoding="utf-8"), rewritten(document, newest=asked.newest)
        if text != before:
            differ.append(document.relative_to(ROOT).as_posix())
        if not asked.check:
            drawn = draw(text)
            if text != before:
                with replacing(document) as scratch:
                    scratch.write_text(text, encoding="utf-8")
            for path in drawn:
                print(f"drawn {path.relative_to(ROOT)}")
    words = "differ from their results" if asked.check else "written"
    print(f"{words}: {', '.join(differ) or 'none'}", file=sys.stderr if asked.check and differ else sys.stdout)
    return 1 if asked.check and differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
