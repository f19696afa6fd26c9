"""Files of results: bench/results/<device>/<date>-<commit>[-<kind>].json, written whole, found again by kind."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sjd2.atomic import replacing

from . import harness, roofline
from .machine import machine

RESULTS = Path(__file__).resolve().parent / "results"


def assemble(device: str, ceilings: roofline.Ceilings, comparisons: Sequence[harness.Comparison]) -> dict[str, Any]:
    """A run as it is written: machine, ceilings, date, noise, comparisons."""
    records = [comparison.record() for comparison in comparisons]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        "ceilings": ceilings.record(),
        "noise": harness.noise(records),
        "comparisons": records,
    }


def store(run: dict[str, Any], folder: Path = RESULTS, kind: str = "") -> Path:
    """Write a run, and return its path.

    Args:
        run: with ``date`` and ``machine``.
        folder: that holds a folder per device.
        kind: what follows the commit in the name, such as "e2e"; nothing for the operators' benchmark.
    """
    m = run["machine"]
    place = folder / m["device"]
    place.mkdir(parents=True, exist_ok=True)
    name = "-".join(part for part in (run["date"][:10], m["commit"].rstrip("+"), kind) if part)
    path = place / f"{name}.json"
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(run, indent=1) + "\n")
    return path


def newest(device: str, kind: str = "", folder: Path = RESULTS) -> Path | None:
    """The latest file of a device and kind, by the date inside."""
    found = []
    for path in (folder / device).glob("*.json"):
        date_and_commit, of_kind = path.stem[:10], path.stem[11:].partition("-")[2]
        if of_kind == kind:
            found.append((json.loads(path.read_text()).get("date", date_and_commit), path))
    return max(found)[1] if found else None


def load(path: Path) -> dict[str, Any]:
    """A run."""
    held: dict[str, Any] = json.loads(path.read_text())
    return held
