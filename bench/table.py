"""A run's comparisons as a Markdown table: ``python -m bench.table bench/results/cpu/<run>.json``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def render(run: dict[str, Any]) -> str:
    """One table per suite, a row per case: milliseconds of every variant and how many times slower than ours it is.

    Times are median / minimum; a ratio is of medians, with that of minima in brackets; `target` is the least ratio
    asked for, where one is stated.
    """
    m = run["machine"]
    lines = [
        f"{m['model']}, {m['cores']} cores, {m['threads']} threads, {m['native']}, "
        f"torch {m['torch']}, commit {m['commit']}",
    ]
    suites: dict[str, list[dict[str, Any]]] = {}
    for comparison in run["comparisons"]:
        suites.setdefault(comparison["suite"], []).append(comparison)
    for suite, rows in suites.items():
        peers = list(dict.fromkeys(peer for row in rows for peer in row["ratios"]))
        lines += ["", f"**{suite}** (milliseconds, median / minimum)", ""]
        lines.append("| case | sjd2 | " + " | ".join(f"{peer} | times | target" for peer in peers) + " |")
        lines.append("|---|---|" + "---|---|---|" * len(peers))
        for row in rows:
            cells = [row["case"], _times(row["timings"][row["ours"]])]
            for peer in peers:
                if peer not in row["ratios"]:
                    cells += ["", "", ""]
                    continue
                target = row["targets"].get(peer)
                ratio = f"{row['ratios'][peer]:.1f}x ({row['ratios_of_minima'][peer]:.1f}x)"
                cells += [_times(row["timings"][peer]), ratio, f"{target:g}x" if target else ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _times(timing: dict[str, float]) -> str:
    return f"{timing['median']:.2f} / {timing['minimum']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a JSON file of bench/results")
    print(render(json.loads(parser.parse_args().run.read_text())))


if __name__ == "__main__":
    main()
