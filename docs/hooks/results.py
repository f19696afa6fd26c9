"""MkDocs hook: ``<!-- results cpu -->`` in a page becomes the tables of the newest benchmark in bench/results/cpu.

Numbers are never copied by hand: each table is rendered from its file by ``python -m bench.table``, under the date and
commit that the file is named for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"<!-- results (\w+) -->")
_FILE = re.compile(r"(\d{4}-\d\d-\d\d)-([0-9a-f]{7,})\.json")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its tables."""
    return _MARK.sub(lambda found: tables(ROOT / "bench" / "results" / found[1]), markdown)


def tables(folder: Path) -> str:
    """The newest file of a folder as Markdown, dated and attributed.

    Raises:
        ValueError: where the folder holds no results.
    """
    found = sorted(path for path in folder.glob("*.json") if _FILE.fullmatch(path.name))
    if not found:
        raise ValueError(f"no file of results in {folder}")
    named = _FILE.fullmatch(found[-1].name)
    assert named
    table = re.sub(r"^(?=###* )", "#", rendered(found[-1]), flags=re.MULTILINE)
    return f"### {named[1]}, commit {named[2]}\n\nFrom `{found[-1].relative_to(ROOT).as_posix()}`. {table}\n"


def rendered(path: Path) -> str:
    """What `bench.table` prints of a file."""
    where = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "bench.table", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": where})
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout.strip()
