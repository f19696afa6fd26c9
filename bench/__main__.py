"""The operators' benchmark on any device: ``python -m bench --device cuda --grid full``

One call measures all of a grid, or some suites of it within --limit seconds; cases that did not fit are counted and
named, never left out silently. Error gate first; JSON and table last.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from . import case, harness, records, roofline, suites, table
from .clock import clock_of
from .grid import GRIDS
from .machine import must_be_built


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, store; 1 when a case failed its gate or broke."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid", choices=GRIDS, help="which shapes (default: full on a GPU, cpu elsewhere)")
    parser.add_argument("--suites", nargs="+", default=list(suites.SUITES), choices=suites.SUITES)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--headline", action="store_true", help="only the cases that the README shows")
    parser.add_argument("--seconds", type=float, help="of measuring per case (default: 0.2 on a GPU, 2 elsewhere)")
    parser.add_argument("--limit", type=float, default=float("inf"), help="start no case after so many seconds")
    parser.add_argument("--out", type=Path, default=records.RESULTS, help="folder of results")
    asked = parser.parse_args(arguments)
    must_be_built(asked.device)
    gpu = torch.device(asked.device).type == "cuda"
    seconds = asked.seconds if asked.seconds is not None else (0.2 if gpu else 2.0)
    wanted = [
        spec
        for spec in suites.specs(asked.grid or ("full" if gpu else "cpu"), asked.suites)
        if asked.only in str(spec) and (spec.headline or not asked.headline)
    ]
    if not wanted:
        parser.error("no case of that name")
    begin, clock, ceilings = time.perf_counter(), clock_of(asked.device), roofline.measure_ceilings(asked.device)
    comparisons: list[harness.Comparison] = []
    failed, late = [], []
    for spec in wanted:
        if time.perf_counter() - begin > asked.limit:
            late.append(str(spec))
            continue
        try:
            comparisons.append(case.run(suites.build(spec, clock, asked.device), clock, ceilings, seconds))
            print(_line(comparisons[-1]), flush=True)
        except Exception as error:  # the other cases are worth having; the exit status says that something failed
            failed.append(f"{spec}: {type(error).__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
        if gpu:
            torch.cuda.empty_cache()
    run = records.assemble(asked.device, ceilings, comparisons) | {"failed": failed, "late": late}
    print("\n" + table.short(run) + f"\n\nwritten to {records.store(run, asked.out)}")
    if late:
        print(f"{len(late)} cases did not fit in {asked.limit:g} s: {'; '.join(late)}")
    print(f"{len(comparisons)} cases, {len(failed)} failed, {time.perf_counter() - begin:.0f} s")
    return 1 if failed else 0


def _line(found: harness.Comparison) -> str:
    ours = found.timings[found.ours]
    of_floor = found.percent_of_floor()
    floor = "" if of_floor is None else f", {of_floor:.0f} % of the floor"
    return f"{found.suite}: {found.case}: {1e3 * ours.median:.1f} us ({ours.how}){floor}"


if __name__ == "__main__":
    raise SystemExit(main())
