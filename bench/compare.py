"""Did a change make something slower? ``python -m bench.compare old.json new.json``

Compares ratios, peer over ours, since times of different runs are not comparable on a shared machine: case by case,
peer by peer. Worse by more than the noise that the files state (or --noise) is a failure, and so is a case, or a peer,
that was measured before and is not any more.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One ratio in both runs; ``now`` is None where it is missing."""

    case: str
    peer: str
    before: float
    now: float | None

    @property
    def gain(self) -> float:
        """Now over before: under 1 is worse."""
        return math.nan if self.now is None else self.now / self.before

    def worse(self, noise: float) -> bool:
        """Whether the ratio shrank by more than ``noise``, or went away."""
        return self.now is None or not self.gain >= 1 / (1 + noise)

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.case}, against {self.peer}: was {self.before:.2f}x, is not measured any more"
        return (
            f"{self.case}, against {self.peer}: {self.before:.2f}x -> {self.now:.2f}x ({100 * (self.gain - 1):+.0f} %)"
        )


def changes(old: Run, new: Run) -> Iterator[Change]:
    """Every ratio of the old run with its counterpart."""
    found = {(each["suite"], each["case"]): each["ratios"] for each in new["comparisons"]}
    for each in old["comparisons"]:
        now = found.get((each["suite"], each["case"]), {})
        for peer, before in each["ratios"].items():
            yield Change(f"{each['suite']}: {each['case']}", peer, before, now.get(peer))


def stated_noise(old: Run, new: Run) -> float:
    """The larger noise of the two runs.

    Raises: ValueError where a file states none.
    """
    missing = [name for name, run in (("old", old), ("new", new)) if "noise" not in run]
    if missing:
        raise ValueError(f"the {' and the '.join(missing)} file state no noise: say one with --noise, such as 0.2")
    return float(max(old["noise"], new["noise"]))


def same_machine(old: Run, new: Run) -> list[str]:
    """What differs between the machines, as far as it would move a ratio."""
    fields = ("model", "cores", "threads", "native", "torch", "triton", "cuda")
    pairs = [(name, old["machine"].get(name), new["machine"].get(name)) for name in fields]
    return [f"{name} {before!r} -> {now!r}" for name, before, now in pairs if before != now]


def main(arguments: list[str] | None = None) -> int:
    """Print the verdict; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--noise", type=float, help="how much worse a ratio may be, 0.1 is ten percent")
    parser.add_argument("--across", action="store_true", help="compare though the machines differ")
    asked = parser.parse_args(arguments)
    old, new = (json.loads(path.read_text()) for path in (asked.old, asked.new))
    differ = same_machine(old, new)
    if differ and not asked.across:
        parser.error(f"the runs are of different machines ({'; '.join(differ)}); --across compares them all the same")
    try:
        noise = stated_noise(old, new) if asked.noise is None else asked.noise
    except ValueError as error:
        parser.error(str(error))
    found = list(changes(old, new))
    if not found:
        parser.error("the old file holds no ratios")
    worse = [change for change in found if change.worse(noise)]
    better = sum(change.gain > 1 + noise for change in found)
    for change in worse:
        print(change)
    print(f"{len(found)} ratios, noise {noise:.2f}: {len(worse)} worse, {better} better")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
