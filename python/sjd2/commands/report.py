"""`sjd2 report`: runs of `sjd2 eval` and `sjd2 trace` on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo


def report(
    runs: Annotated[list[Path], Argument(help="JSON files of sjd2 eval and sjd2 trace.")],
    out: Annotated[Path, Option("--out", "-o", help="HTML file.")] = Path("out/report.html"),
    title: Annotated[str, Option(help="Of the page.")] = "Decoding runs",
) -> None:
    """Put tables and pictures of runs side by side on one page that needs nothing else."""
    from ..atomic import replacing
    from ..report.page import page
    from ..report.runs import load

    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"out must be the name of a .html file, got {out}")
    text = page(*load(runs), title)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as scratch:
        scratch.write_text(text, encoding="utf-8")
    echo(str(out))
