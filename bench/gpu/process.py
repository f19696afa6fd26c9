"""The processes of a check: this interpreter, the package under test, bench from this checkout.

An installed package is the one under test, as in the test suite, unless PYTHONPATH names another; where none is
installed it is the checkout's own.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys

from ..aot import ROOT

START = (
    "import runpy, sys; sys.path.append({root!r}); runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of bench."""
    return [sys.executable, "-c", START.format(root=str(ROOT), module=name), *arguments]


def environment(**more: str) -> dict[str, str]:
    """For a child: no backend that somebody chose before, no interpreter, nothing from the folder that it starts in."""
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    try:
        importlib.metadata.version("sjd2-kernels")
    except importlib.metadata.PackageNotFoundError:
        path = [str(ROOT), str(ROOT / "python"), *path]
    kept = {k: v for k, v in os.environ.items() if k not in ("SJD2_BACKEND", "TRITON_INTERPRET")}
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"} | more
