"""What a check says: one line for a person, one record for the file."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..aot import ROOT

PASS, FAIL, ABSENT = "pass", "FAIL", "absent"
KEPT_LINES = 12


@dataclass(frozen=True)
class Setting:
    """How a run was asked for.

    Attributes:
        device: "cuda", or "cpu" to try the script itself.
        until: the time (time.time()) at which the check that gets this must be over.
        small: the interpreter's shapes instead of a model's.
    """

    device: Literal["cuda", "cpu"] = "cuda"
    until: float = float("inf")
    small: bool = False

    @property
    def left(self) -> float:
        """Seconds until the check must be over, a day at most."""
        return min(self.until - time.time(), 86400.0)


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at: it passed, failed, or is absent here (which is not counted as a failure)."""

    check: str
    name: str
    outcome: str
    detail: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """For a person."""
        first, *rest = self.detail.strip().splitlines() or [""]
        shown = [f"{self.outcome:<6}  {self.check:<11}  {self.name}" + (f": {first}" if first else "")]
        return "\n".join(shown + [f"{'':10}{line}" for line in rest[-KEPT_LINES:]])


def judged(check: str, name: str, look: Callable[[], Verdict | tuple[str, dict[str, Any]]]) -> Verdict:
    """What ``look`` finds; an exception is a failure of this one thing only."""
    try:
        found = look()
    except Exception as error:
        return failed(check, name, error)
    return found if isinstance(found, Verdict) else Verdict(check, name, PASS, *found)


def failed(check: str, name: str, error: Exception) -> Verdict:
    """An exception: what it says, and where in this repository, if anywhere, it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = next((f for f in reversed(frames) if f.filename.startswith(f"{ROOT}{os.sep}")), frames[-1])
    text = f"{type(error).__name__}: {error}\nat {Path(where.filename).name}:{where.lineno}, in {where.name}"
    return Verdict(check, name, FAIL, text)
