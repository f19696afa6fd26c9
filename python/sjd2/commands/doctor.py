"""`sjd2 doctor`: what is installed, what runs, what fits; the text for a bug report."""

from __future__ import annotations

from typing import Annotated

from typer import Exit, Option, echo


def doctor(
    model: Annotated[
        str | None, Option(help="Show the memory of this one: an embedded model, a folder or a hub id.")
    ] = None,
    dtype: Annotated[str | None, Option(help="float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:N; left out, the GPU where there is one.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON, with bytes as numbers.")] = False,
) -> None:
    """Say what is installed, which backends are live and agree, which GPU there is, and what models need."""
    import json

    from ..doctor import examine, healthy, render

    found = examine(model, dtype, device)
    echo(json.dumps(found, indent=1) if as_json else render(found), nl=as_json)
    if not healthy(found):
        raise Exit(1)
